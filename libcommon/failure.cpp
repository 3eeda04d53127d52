#include "failure.hpp"

#include "hash.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr std::string_view fl_retries = "NServiceBus.FLRetries";
constexpr std::string_view exception_source = "NServiceBus.ExceptionInfo.Source";
constexpr std::string_view exception_prefix = "NServiceBus.ExceptionInfo.";
constexpr std::string_view host_id = "$.diagnostics.hostid", host_name = "$.diagnostics.hostdisplayname";
constexpr std::string_view original_prefix = "Gatepost.Original.";
// Those that a message may have had before it failed.
constexpr std::string_view shared_names[] = {header::processing_endpoint, header::processing_machine, host_id, host_name};

Headers::Entry* entry_of(Headers& headers, std::string_view name) {
  const std::string* value = headers.find(name);
  for (Headers::Entry& entry : headers.entries())
    if (&entry.value == value) return &entry;
  return nullptr;
}

/// Cuts at `limit` bytes, but not inside of a UTF-8 sequence.
std::string cut(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

void set_unless_empty(Headers& headers, std::string_view name, const std::string& value) {
  if (!value.empty()) headers.set(name, value);
}

}  // namespace

void add_failure_headers(Headers& headers, const Failure& failure) {
  headers.remove(header::retries);
  headers.remove(fl_retries);
  headers.remove(returned_header);
  if (!headers.find(header::failed_q))
    for (std::string_view name : shared_names)
      if (Headers::Entry* entry = entry_of(headers, name)) entry->name.insert(0, original_prefix);
  // What an earlier failure left must not be mixed with this one.
  std::erase_if(headers.entries(), [](const Headers::Entry& entry) { return entry.name.starts_with(exception_prefix); });
  headers.set(header::failed_q, failure.failed_queue);
  headers.set(header::time_of_failure, format_nsb_time(failure.at_us));
  headers.set(header::exception_type, failure.exception_type);
  headers.set(header::exception_message, cut(failure.message, failure_message_bytes_max));
  set_unless_empty(headers, exception_source, failure.source);
  set_unless_empty(headers, header::exception_stack, cut(failure.stack_trace, failure_message_bytes_max));
  set_unless_empty(headers, header::processing_endpoint, failure.processing_endpoint);
  set_unless_empty(headers, header::processing_machine, failure.processing_machine);
  if (failure.processing_machine.empty()) return;
  // What tells hosts apart in the tools of NServiceBus: a number of 32 digits, always the same for one machine.
  const Md5 host = md5(failure.processing_machine);
  headers.set(host_id, hex(std::string_view(reinterpret_cast<const char*>(host.data()), host.size())));
  headers.set(host_name, failure.processing_machine);
}

void restore_headers(Headers& headers) {
  const bool failed = headers.find(header::failed_q) != nullptr;
  for (std::string_view name : {header::retries, header::retries_timestamp, fl_retries, returned_header, header::failed_q, header::time_of_failure})
    headers.remove(name);
  std::erase_if(headers.entries(), [](const Headers::Entry& entry) { return entry.name.starts_with(exception_prefix); });
  if (!failed) return;
  for (std::string_view name : shared_names) {
    headers.remove(name);
    if (Headers::Entry* entry = entry_of(headers, std::string(original_prefix).append(name))) entry->name = name;
  }
}

void mark_returned(Headers& headers) { headers.set(returned_header, "True"); }
bool is_returned(const Headers& headers) { return headers.find(returned_header) != nullptr; }

const Headers& without_mark(const Headers& headers, Headers& room) {
  if (!is_returned(headers)) return headers;
  room = headers;
  room.remove(returned_header);
  return room;
}

PutOptions for_a_person(int64_t expires_at_ms) {
  constexpr int64_t never = 253'402'300'799'000;  // the end of the year 9999
  PutOptions how;
  if (expires_at_ms != 0) how.expires_at_ms = never;
  return how;
}

}  // namespace gw
