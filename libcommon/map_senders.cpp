#include "map_senders.hpp"

#include <algorithm>
#include <charconv>

#include "control_message.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr const char* file_name = "senders";
constexpr size_t rows_max = 10'000;     // what comes from outside must not grow without end: the oldest go
constexpr size_t word_bytes_max = 400;

bool word_ok(std::string_view word) {
  return !word.empty() && word.size() <= word_bytes_max && std::all_of(word.begin(), word.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
}

std::vector<std::string> split(std::string_view line) {
  std::vector<std::string> words;
  for (;;) {
    const size_t tab = line.find('\t');
    words.emplace_back(line.substr(0, tab));
    if (tab == std::string_view::npos) return words;
    line.remove_prefix(tab + 1);
  }
}

std::string line_of(const KnownSender& s) {
  return (s.of_this_root ? "out\t" : "in\t") + s.target + "\t" + s.sender + "\t" + s.machine + "\t" + (s.map_version.empty() ? "-" : s.map_version) + "\t" +
         std::to_string(s.since_ms) + "\t" + (s.put_back ? "again" : s.left ? "1" : "0") + "\n";
}

bool same_row(const KnownSender& a, const KnownSender& b) { return a.of_this_root == b.of_this_root && a.target == b.target && a.sender == b.sender; }

}  // namespace

bool is_map_version_message(const Headers& headers) {
  return is_control_message(headers) && headers.get(header::enclosed_message_types) == map_version_type;
}

Message map_version_message(std::string_view sender, std::string_view machine, std::string_view version) {
  Message message = make_control_message("Send", machine);
  message.headers.set(header::enclosed_message_types, map_version_type);
  message.headers.set(header::map_version, version);
  message.headers.set(header::map_sender, sender);
  return message;
}

void forget_map(Headers& headers) {
  headers.remove(header::map_version);
  headers.remove(header::map_sender);
}

std::string sender_of(const Headers& headers, std::string_view machine) {
  const std::string_view endpoint = headers.get(header::originating_endpoint);
  return (endpoint.empty() ? "" : std::string(endpoint) + "@") + std::string(machine);
}

Result<std::vector<KnownSender>> read_senders(const MapState& state) {
  GW_TRY_ASSIGN(const auto text, state.read(file_name));
  std::vector<KnownSender> senders;
  if (!text) return senders;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    const auto words = split(std::string_view(*text).substr(at, end - at));
    at = end + 1;
    if (words.size() != 7) continue;
    KnownSender s;
    s.of_this_root = words[0] == "out";
    s.target = words[1], s.sender = words[2], s.machine = words[3];
    if (words[4] != "-") s.map_version = words[4];
    std::from_chars(words[5].data(), words[5].data() + words[5].size(), s.since_ms);
    s.put_back = words[6] == "again";
    s.left = s.put_back || words[6] == "1";
    senders.push_back(std::move(s));
  }
  return senders;
}

namespace {

// With the state's lock held.
Result<void> write_senders(const MapState& state, const std::vector<KnownSender>& senders) {
  std::string text;
  for (const KnownSender& s : senders) text += line_of(s);
  return state.write(file_name, text);
}

}  // namespace

Result<void> record_sender(const MapState& state, KnownSender sender) {
  for (const std::string* word : {&sender.target, &sender.sender, &sender.machine})
    if (!word_ok(*word)) return {};  // from a stranger: nobody could name it
  GW_TRY_ASSIGN(const UniqueFd locked, state.lock());
  GW_TRY_ASSIGN(auto senders, read_senders(state));
  auto row = std::find_if(senders.begin(), senders.end(), [&](const KnownSender& s) { return same_row(s, sender); });
  if (row != senders.end() && row->map_version == sender.map_version && row->left == sender.left && row->put_back == sender.put_back &&
      row->machine == sender.machine)
    return {};
  if (row != senders.end()) senders.erase(row);
  senders.push_back(std::move(sender));
  if (senders.size() > rows_max) senders.erase(senders.begin());
  return write_senders(state, senders);
}

Result<void> doubt_senders(const MapState& state, const std::string& queue) {
  GW_TRY_ASSIGN(const UniqueFd locked, state.lock());
  GW_TRY_ASSIGN(auto senders, read_senders(state));
  bool any = false;
  for (KnownSender& s : senders) {
    if (s.of_this_root || s.target != queue || !s.left || s.put_back) continue;
    s.put_back = any = true;
  }
  return any ? write_senders(state, senders) : Result<void>();
}

bool means_sender(std::string_view word, const KnownSender& sender) {
  const std::string_view name = sender.sender;
  return word == name || word == sender.machine || (name.find('@') != std::string_view::npos && word == name.substr(0, name.find('@')));
}

namespace {

std::string key_in_notes(const std::string& queue, const Headers& headers) { return queue + "\n" + std::string(headers.get(header::map_sender)); }
std::string value_in_notes(const Headers& headers) {
  return std::string(headers.get(header::map_version)) + (is_map_version_message(headers) ? " left" : "");
}

}  // namespace

bool SenderNotes::knows(const std::string& queue, const Headers& headers) {
  if (headers.get(header::map_version).empty()) return true;
  // It may say for the second time that it has left, of an instance that was put back meanwhile.
  if (is_map_version_message(headers)) return false;
  const std::lock_guard guard(mutex_);
  const auto known = known_.find(key_in_notes(queue, headers));
  return known != known_.end() && known->second == value_in_notes(headers);
}

Result<void> SenderNotes::note(const std::string& queue, const Headers& headers) {
  if (knows(queue, headers)) return {};
  const std::string_view version = headers.get(header::map_version);
  KnownSender sender;
  sender.target = queue;
  if (word_ok(version)) sender.map_version = version;
  sender.sender = headers.get(header::map_sender);
  const size_t at = sender.sender.rfind('@');
  sender.machine = at == std::string::npos ? sender.sender : sender.sender.substr(at + 1);
  sender.left = is_map_version_message(headers);
  sender.since_ms = now_ms();
  GW_TRY_ASSIGN(const MapState state, MapState::open(root_path_, true));
  GW_TRY(record_sender(state, std::move(sender)));
  const std::lock_guard guard(mutex_);
  if (known_.size() > rows_max) known_.clear();
  known_[key_in_notes(queue, headers)] = value_in_notes(headers);
  return {};
}

}  // namespace gw
