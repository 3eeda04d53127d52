#include "data_bus.hpp"

#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "diag.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

bool same_name(std::string_view a, std::string_view b) { return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0; }

/// What a wire name becomes, whether or not it came with the gateway's prefix.
std::string header_of(std::string_view wire_name) {
  std::string name = delivered_name(wire_name, true);
  return name.empty() ? std::string(wire_name) : name;
}

bool names_property(std::string_view header) {
  return header.size() > wire::data_bus_prefix.size() && same_name(header.substr(0, wire::data_bus_prefix.size()), wire::data_bus_prefix);
}

}  // namespace

template <class T>
Result<T> DataBus::in_store(const std::function<Result<T>()>& work) {
  std::optional<Result<T>> result;
  thread_.run([&] { result.emplace(work()); });
  if (!*result && result->error().code == ExitCode::io_error) on_doubt_(result->error());
  return *std::move(result);
}

Result<DataBus::Blob> DataBus::begin() {
  std::string key = new_blob_key(now_ms());
  GW_TRY(in_store<void>([&] { return store_.announce_blob(key); }));
  GW_TRY_ASSIGN(auto writer, BlobWriter::create(root_path_, key));
  return Blob{std::move(key), std::move(writer)};
}

Result<DedupStore::AddedProperty> DataBus::add(Blob&& blob, PropertyRow&& row, bool even_after_message, int64_t expires_at_ms) {
  GW_TRY(blob.writer.finish());
  if (expires_at_ms) GW_TRY(note_blob_expiry(root_path_, blob.key, expires_at_ms));
  row.scope = endpoint_;
  row.key = blob.key;
  row.received_at_ms = now_ms();
  auto added = in_store<DedupStore::AddedProperty>([&] { return store_.add_property(row, even_after_message); });
  if (added && added->outcome == DedupStore::PropertyOutcome::stored) return added;
  // Known to belong to nobody: if this fails, the next purge does it.
  if (auto removed = remove_blob(root_path_, blob.key); !removed) event(Level::warn, "blob-left", {{"reason", removed.error().text}});
  return added;
}

Result<DedupStore::Properties> DataBus::find(const std::string& id, bool lease) {
  GW_TRY_ASSIGN(auto found, in_store<DedupStore::Properties>([&] { return store_.properties(endpoint_, id, lease); }));
  auto gone = [&](const PropertyRow& row) { return ::access(blob_path(root_path_, row.key).c_str(), F_OK) != 0 && errno == ENOENT; };
  if (std::none_of(found.rows.begin(), found.rows.end(), gone)) return found;
  GW_TRY(discard(id, found.rows));
  found.rows.clear();
  return found;
}

Result<void> DataBus::accepted(const std::string& id) {
  return in_store<void>([&] { return store_.drop_properties(endpoint_, id, false); });
}

Result<void> DataBus::discard(const std::string& id) {
  GW_TRY_ASSIGN(auto found, find(id, true));
  return found.rows.empty() ? Result<void>() : discard(id, found.rows);
}

Result<void> DataBus::discard(const std::string& id, const std::vector<PropertyRow>& rows) {
  GW_TRY(in_store<void>([&] { return store_.drop_properties(endpoint_, id, true); }));
  for (const PropertyRow& row : rows) GW_TRY(release_blob(root_path_, row.key));
  return {};
}

std::vector<ExpectedProperty> expected_properties(const WireCall& call) {
  std::vector<ExpectedProperty> expected;
  for (const std::string& name : call.data_bus_headers) expected.push_back({name, delivered_name(name, call.gateway_message)});
  return expected;
}

std::vector<ExpectedProperty> expected_properties(const Headers& held, const std::vector<PropertyRow>& rows) {
  std::vector<ExpectedProperty> expected;
  for (const auto& entry : held.entries()) {
    if (!names_property(header_of(entry.name))) continue;
    ExpectedProperty property{std::string(wire::header_prefix) + entry.name, entry.name};
    for (const PropertyRow& row : rows)
      if (same_name(row.name, entry.name) || same_name(header_of(row.name), entry.name)) property.wire_name = row.name;
    expected.push_back(std::move(property));
  }
  return expected;
}

const PropertyRow* find_property(const std::vector<PropertyRow>& rows, std::string_view name) {
  for (const PropertyRow& row : rows)
    if (same_name(row.name, name)) return &row;
  return nullptr;
}

std::optional<WireRefusal> missing_property(const std::vector<ExpectedProperty>& expected, const std::vector<PropertyRow>& rows) {
  if (expected.empty()) return std::nullopt;
  if (rows.empty())
    return WireRefusal{412, "Expected " + std::to_string(expected.size()) + " claimcheck properties. None were received. Please resubmit."};
  for (const ExpectedProperty& property : expected)
    if (!find_property(rows, property.wire_name))
      return WireRefusal{412, "ClaimCheck property " + property.wire_name + " was never received. Please resubmit."};
  return std::nullopt;
}

Result<void> HeldProperties::hold(std::vector<PropertyRow>& rows) {
  for (size_t i = 0; i < rows.size();) {
    GW_TRY_ASSIGN(auto hold, BlobHold::take(root_path_, rows[i].key));
    if (hold) holds_.push_back(*std::move(hold)), ++i;
    else rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return {};
}

void HeldProperties::release() {
  std::vector<std::string> keys;
  for (const BlobHold& hold : holds_) keys.push_back(hold.key());
  holds_.clear();
  for (const std::string& key : keys)
    if (auto gone = release_blob(root_path_, key); !gone) event(Level::warn, "blob-not-removed", {{"reason", gone.error().text}});
}

void rewrite_properties(Headers& headers, const std::vector<ExpectedProperty>& expected, const std::vector<PropertyRow>& rows) {
  for (const ExpectedProperty& property : expected) {
    const PropertyRow* row = find_property(rows, property.wire_name);
    if (!row || property.header.empty()) continue;
    for (auto& entry : headers.entries()) {
      if (!same_name(entry.name, property.header)) continue;
      entry.value = row->key;
      // A hop that lower-cases names has left the name in the property's call as it was.
      if (std::string name = header_of(row->name); same_name(name, entry.name)) entry.name = std::move(name);
    }
  }
}

}  // namespace gw::listen
