#include <doctest/doctest.h>

#include "failure.hpp"

using namespace gw;

namespace {

Failure failure() {
  Failure f;
  f.failed_queue = "HQ.gateway@vm1";
  f.exception_type = "Gatepost.TransferFailed";
  f.message = "503 Busy";
  f.processing_endpoint = "HQ";
  f.processing_machine = "vm1";
  f.at_us = 1'795'260'573'141'130;
  return f;
}

}  // namespace

TEST_CASE("failure: the headers of the error queue") {
  Headers headers;
  headers.set("NServiceBus.MessageId", "m");
  headers.set("NServiceBus.Retries", "4");
  headers.set("NServiceBus.FLRetries", "1");
  headers.set("NServiceBus.Retries.Timestamp", "2026-11-21 11:29:33:406293 Z");
  headers.set("NServiceBus.ExceptionInfo.Data.Key", "of an older failure");
  add_failure_headers(headers, failure());
  CHECK(headers.get("NServiceBus.FailedQ") == "HQ.gateway@vm1");
  CHECK(headers.get("NServiceBus.TimeOfFailure") == "2026-11-21 11:29:33:141130 Z");
  CHECK(headers.get("NServiceBus.ExceptionInfo.ExceptionType") == "Gatepost.TransferFailed");
  CHECK(headers.get("NServiceBus.ExceptionInfo.Message") == "503 Busy");
  CHECK(headers.get("NServiceBus.ProcessingEndpoint") == "HQ");
  CHECK(headers.get("NServiceBus.ProcessingMachine") == "vm1");
  CHECK(headers.get("$.diagnostics.hostdisplayname") == "vm1");
  CHECK(headers.get("$.diagnostics.hostid").size() == 32);
  CHECK(headers.find("NServiceBus.Retries") == nullptr);
  CHECK(headers.find("NServiceBus.FLRetries") == nullptr);
  CHECK(headers.find("NServiceBus.ExceptionInfo.Data.Key") == nullptr);
  CHECK(headers.get("NServiceBus.Retries.Timestamp") == "2026-11-21 11:29:33:406293 Z");
  CHECK(headers.get("NServiceBus.MessageId") == "m");
}

TEST_CASE("failure: long texts are cut, not inside of a character") {
  Headers headers;
  Failure f = failure();
  f.message = std::string(failure_message_bytes_max - 1, 'x') + "\xc3\xbc and more";
  add_failure_headers(headers, f);
  CHECK(headers.get("NServiceBus.ExceptionInfo.Message") == std::string(failure_message_bytes_max - 1, 'x'));
}

TEST_CASE("failure: what goes back is as it was") {
  Headers before;
  before.set("NServiceBus.MessageId", "m");
  before.set("NServiceBus.ProcessingEndpoint", "Elsewhere");
  before.set("$.diagnostics.hostid", "0123");
  before.set("x", "y");
  Headers headers = before;
  add_failure_headers(headers, failure());
  CHECK(headers.get("NServiceBus.ProcessingEndpoint") == "HQ");
  Headers twice = headers;
  add_failure_headers(twice, failure());
  restore_headers(headers);
  CHECK(headers == before);
  restore_headers(twice);
  CHECK(twice == before);
  restore_headers(twice);
  CHECK(twice == before);
  for (size_t i = 0; i < before.entries().size(); ++i) CHECK(headers.entries()[i].name == before.entries()[i].name);
}

TEST_CASE("failure: counters of retries and the mark go") {
  Headers headers;
  headers.set("NServiceBus.Retries", "4");
  headers.set("NServiceBus.Retries.Timestamp", "2026-11-21 11:29:33:406293 Z");
  headers.set("NServiceBus.FLRetries", "1");
  mark_returned(headers);
  CHECK(is_returned(headers));
  Headers room;
  CHECK_FALSE(is_returned(without_mark(headers, room)));
  CHECK(without_mark(headers, room).find("NServiceBus.Retries") != nullptr);
  Headers failed = headers;
  add_failure_headers(failed, failure());
  CHECK_FALSE(is_returned(failed));
  restore_headers(headers);
  CHECK(headers.entries().empty());
  CHECK(&without_mark(headers, room) == &headers);
}
