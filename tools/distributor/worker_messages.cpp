#include "worker_messages.hpp"

#include <algorithm>
#include <charconv>

#include "units.hpp"

namespace gw::distributor {

namespace {

using Kind = ControlMessage::Kind;

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string list_of(const std::vector<HandOut>& hand_outs) {
  std::string text;
  for (const HandOut& one : hand_outs) {
    if (!text.empty()) text += ' ';
    text += to_text(one);
  }
  return text;
}

std::optional<std::vector<HandOut>> parse_list(std::string_view text) {
  std::vector<HandOut> hand_outs;
  while (!text.empty()) {
    const size_t space = text.find(' ');
    auto one = parse_hand_out(text.substr(0, space));
    if (!one) return std::nullopt;
    hand_outs.push_back(*one);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return hand_outs;
}

// `CRITICAL/PROCESSING ...` in milliseconds
std::string list_of_times(const std::vector<Took>& times) {
  std::string list;
  for (const Took& one : times)
    list += (list.empty() ? "" : " ") + std::to_string(static_cast<int64_t>(one.critical_s * 1000)) + "/" + std::to_string(static_cast<int64_t>(one.processing_s * 1000));
  return list;
}

// Only a count: what cannot be read is left out.
std::vector<Took> parse_times(std::string_view text) {
  std::vector<Took> times;
  while (!text.empty() && times.size() < worker_capacity_max) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    const size_t slash = word.find('/');
    if (slash == std::string_view::npos) continue;
    auto critical = number<uint32_t>(word.substr(0, slash)), processing = number<uint32_t>(word.substr(slash + 1));
    if (critical && processing) times.push_back({*critical / 1000.0, *processing / 1000.0});
  }
  return times;
}

bool is_true(const Headers& headers, std::string_view name) {
  const std::string_view value = headers.get(name);
  return value == "True" || value == "true";
}

Error foreign(const std::string& why) { return Error{ExitCode::bad_data, 0, "not a control message of a distributor: " + why}; }

Message control_base() {
  Message message;
  message.headers.set(header::message_id, new_message_id());
  message.headers.set(worker_header::control_message, "True");
  message.headers.set(header::time_sent, format_nsb_time(now_us()));
  return message;
}

}  // namespace

std::string control_queue(std::string_view endpoint) { return std::string(endpoint) + ".distributor.control"; }
std::string storage_queue(std::string_view endpoint) { return std::string(endpoint) + ".distributor.storage"; }
std::string workers_queue(std::string_view endpoint) { return std::string(endpoint) + ".distributor.workers"; }

std::string to_text(const HandOut& hand_out) { return std::to_string(hand_out.slot) + "." + std::to_string(hand_out.work); }

std::optional<HandOut> parse_hand_out(std::string_view text) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  auto slot = number<uint64_t>(text.substr(0, dot)), work = number<uint64_t>(text.substr(dot + 1));
  if (!slot || !work) return std::nullopt;
  return HandOut{*slot, *work};
}

void remove_hand_out(Headers& headers) {
  headers.remove(worker_header::hand_out);
  headers.remove(worker_header::session);
  headers.remove(worker_header::interruptions);
}

Message to_message(const ControlMessage& control) {
  Message message = control_base();
  Headers& headers = message.headers;
  auto of_worker = [&] {
    headers.set(header::reply_to_address, control.worker);
    headers.set(worker_header::session, control.session);
  };
  switch (control.kind) {
    case Kind::starting:
      of_worker();
      headers.set(worker_header::starting, "True");
      headers.set(worker_header::capacity_available, std::to_string(control.capacity));
      if (control.lists) headers.set(worker_header::hand_outs, "");
      if (control.since_ms > 0) headers.set(worker_header::since, std::to_string(control.since_ms));
      break;
    case Kind::returned:
      of_worker();
      headers.set(worker_header::capacity_available, std::to_string(control.hand_outs.empty() ? control.capacity : control.hand_outs.size()));
      if (!control.hand_outs.empty()) headers.set(worker_header::hand_outs, list_of(control.hand_outs));
      if (!control.times.empty()) headers.set(worker_header::times, list_of_times(control.times));
      if (control.done > 0) headers.set(worker_header::done, std::to_string(control.done));
      break;
    case Kind::heartbeat:
      of_worker();
      headers.set(worker_header::heartbeat, "True");
      if (control.lists) headers.set(worker_header::holding, list_of(control.hand_outs));
      break;
    case Kind::stopping:
      of_worker();
      headers.set(worker_header::stopping, "True");
      break;
    case Kind::unregister: headers.set(worker_header::unregister, control.worker); break;
    case Kind::drain: headers.set(worker_header::drain, control.worker); break;
    case Kind::resume: headers.set(worker_header::resume, control.worker); break;
  }
  if (control.failed > 0) headers.set(worker_header::failed, std::to_string(control.failed));
  return message;
}

Result<ControlMessage> parse_control(const Message& message) {
  const Headers& headers = message.headers;
  if (!is_true(headers, worker_header::control_message)) return foreign("no header NServiceBus.ControlMessage");
  ControlMessage control;
  for (auto [name, kind] : {std::pair{worker_header::unregister, Kind::unregister}, {worker_header::drain, Kind::drain}, {worker_header::resume, Kind::resume}}) {
    if (!headers.find(name)) continue;
    control.kind = kind;
    control.worker = headers.get(name);
    if (control.worker.empty()) return foreign("header " + std::string(name) + " names no worker");
    return control;
  }
  control.worker = headers.get(header::reply_to_address);
  control.session = headers.get(worker_header::session);
  if (control.worker.empty()) return foreign("no header NServiceBus.ReplyToAddress");
  const std::string *list = headers.find(worker_header::hand_outs), *held = headers.find(worker_header::holding);
  if (list || held) {
    auto parsed = parse_list(list ? *list : *held);
    if (!parsed) return foreign("cannot read its list of hand-outs");
    control.hand_outs = *std::move(parsed);
    control.lists = true;
  }
  control.done = number<uint64_t>(headers.get(worker_header::done)).value_or(0);
  control.times = parse_times(headers.get(worker_header::times));
  control.since_ms = number<int64_t>(headers.get(worker_header::since)).value_or(0);
  control.failed = number<uint64_t>(headers.get(worker_header::failed)).value_or(0);
  if (headers.find(worker_header::heartbeat) || headers.find(worker_header::stopping)) {
    control.kind = headers.find(worker_header::heartbeat) ? Kind::heartbeat : Kind::stopping;
    return control;
  }
  if (!headers.find(worker_header::capacity_available)) return foreign("it says nothing that a distributor knows");
  auto capacity = number<unsigned>(headers.get(worker_header::capacity_available));
  if (!capacity || *capacity > worker_capacity_max)
    return foreign("'" + std::string(headers.get(worker_header::capacity_available)) + "' is not a capacity: expected 0 to " + std::to_string(worker_capacity_max));
  control.capacity = *capacity;
  control.kind = is_true(headers, worker_header::starting) ? Kind::starting : Kind::returned;
  return control;
}

Message lease_message(int64_t lease_ms) {
  Message message = control_base();
  message.headers.set(worker_header::lease, std::to_string(lease_ms) + "ms");
  return message;
}

std::optional<int64_t> parse_lease(const Message& message) {
  if (!message.headers.find(worker_header::lease)) return std::nullopt;
  auto lease = parse_duration_ms(message.headers.get(worker_header::lease));
  if (!lease || *lease <= 0) return std::nullopt;
  return *lease;
}

}  // namespace gw::distributor
