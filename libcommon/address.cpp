#include "address.hpp"

#include <strings.h>

#include <charconv>
#include <utility>

#include "config_names.hpp"
#include "diag.hpp"
#include "suggest.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t look_every_ms = 1000;

bool same_name(std::string_view a, std::string_view b) { return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0; }

bool is_loopback(std::string_view machine) {
  const std::string lower = to_lower(machine);
  if (lower == "." || lower == "localhost" || lower == "::1" || lower == "[::1]") return true;
  return lower.starts_with("127.") && lower.find_first_not_of("0123456789.") == std::string::npos;
}

Error bad_address(const char* what, std::string_view text) {
  return Error{ExitCode::usage, 0, std::string(what) + ". Address supplied: '" + std::string(text) + "'"};
}

/// The value, and the header is gone.
std::string taken(Headers& headers, std::string_view name) {
  std::string value(headers.get(name));
  headers.remove(name);
  return value;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  const size_t at = text.find('@');
  Address address;
  address.queue = text.substr(0, at);
  if (at != std::string_view::npos) {
    if (text.find('@', at + 1) != std::string_view::npos) return bad_address("Address contains multiple @ characters", text);
    if (at == 0) return bad_address("Empty queue part of address", text);
    address.machine = text.substr(at + 1);
    if (address.machine.empty()) return bad_address("Empty machine part of address", text);
    if (is_loopback(address.machine)) {
      address.machine.clear();
    } else if (!queue_name_ok(address.machine)) {
      return Error{ExitCode::usage, 0, "'" + address.machine + "' is not the name of a machine: expected letters, digits, '.', '_' and '-'"};
    }
  }
  GW_TRY(check_queue_name(address.queue));
  return address;
}

bool is_here(const Address& address, std::string_view this_machine) {
  return address.machine.empty() || same_name(address.machine, this_machine);
}

std::string full_address(const Address& address, std::string_view this_machine) {
  return address.queue + "@" + (address.machine.empty() ? std::string(this_machine) : address.machine);
}

const MachineConfig* find_machine(const Config& config, std::string_view name) {
  for (const MachineConfig& machine : config.machines)
    if (same_name(machine.name, name)) return &machine;
  return nullptr;
}

Error unknown_machine(const Config& config, std::string_view name) {
  std::string text = "the following machines have not been configured: " + std::string(name);
  std::vector<std::string> known;
  for (const MachineConfig& machine : config.machines) known.push_back(machine.name);
  const std::string hint = suggest(name, known);
  if (!config.missing_path.empty()) text += "; there is no file '" + config.missing_path + "' (use --config FILE)";
  else if (!hint.empty()) text += "; " + hint;
  return Error{ExitCode::usage, 0, std::move(text)};
}

Message addressed(const Destination& destination, Message message, PutOptions& options) {
  if (destination.remote_queue.empty()) return message;
  Headers& headers = message.headers;
  headers.set(header::destination_queue, destination.remote_queue);
  headers.set(header::transfer_id, format_rfc3339(now_ms()) + "/" + new_message_id());
  for (std::string_view name : {header::failed_attempts, header::due_at, header::expires_at}) headers.remove(name);
  if (options.failures != 0) headers.set(header::failed_attempts, std::to_string(std::exchange(options.failures, 0)));
  if (options.due_at_ms != 0) headers.set(header::due_at, format_rfc3339(std::exchange(options.due_at_ms, 0)));
  if (options.expires_at_ms != 0) headers.set(header::expires_at, format_rfc3339(options.expires_at_ms));
  return message;
}

void put_to(Transaction& transaction, const Destination& destination, Message message, PutOptions options) {
  message = addressed(destination, std::move(message), options);
  transaction.put(destination.queue, std::move(message), std::move(options));
}

Arrival take_arrival(Headers& headers) {
  Arrival arrival;
  arrival.queue = taken(headers, header::destination_queue);
  arrival.transfer_id = taken(headers, header::transfer_id);
  arrival.put_at_ms = parse_time_ms(arrival.transfer_id.substr(0, arrival.transfer_id.find('/')), 0).value_or(0);
  const std::string failures = taken(headers, header::failed_attempts);
  std::from_chars(failures.data(), failures.data() + failures.size(), arrival.failures);
  arrival.due_at_ms = parse_time_ms(taken(headers, header::due_at), 0).value_or(0);
  arrival.expires_at_ms = parse_time_ms(taken(headers, header::expires_at), 0);
  return arrival;
}

Result<void> Destinations::read_config() {
  const int64_t now = monotonic_ms();
  if (config_ && (now - looked_at_ms_ < look_every_ms || !file_.changed())) return {};
  looked_at_ms_ = now;
  auto fresh = file_.read();
  if (!fresh && !config_) return std::move(fresh).error();
  if (!fresh)
    event(Level::error, "config-bad", {{"path", file_.path()}, {"reason", fresh.error().text}});
  else
    config_ = *std::move(fresh);
  return {};
}

Result<Destination> Destinations::find(const Address& address) {
  Destination destination;
  if (is_here(address, root_.machine())) {
    GW_TRY_ASSIGN(destination.queue, root_.queue(address.queue));
    return destination;
  }
  GW_TRY(read_config());
  const MachineConfig* machine = find_machine(*config_, address.machine);
  if (!machine) return unknown_machine(*config_, address.machine);
  GW_TRY_ASSIGN(destination.queue, root_.create_queue(outbox_of_site(machine->link.key)));
  destination.remote_queue = address.queue;
  destination.machine = machine->name;
  return destination;
}

Result<Destination> Destinations::find(std::string_view address) {
  GW_TRY_ASSIGN(Address parsed, parse_address(address));
  return find(parsed);
}

}  // namespace gw
