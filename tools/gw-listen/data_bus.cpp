#include "data_bus.hpp"

#include <strings.h>

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

Result<DedupStore::AddedProperty> DataBus::add(Blob&& blob, PropertyRow&& row, bool even_after_message) {
  GW_TRY(blob.writer.finish());
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
  return in_store<DedupStore::Properties>([&] { return store_.properties(endpoint_, id, lease); });
}

Result<void> DataBus::accepted(const std::string& id) {
  return in_store<void>([&] { return store_.drop_properties(endpoint_, id, false); });
}

Result<void> DataBus::discard(const std::string& id) {
  GW_TRY_ASSIGN(auto found, find(id, true));
  if (found.rows.empty()) return {};
  GW_TRY(in_store<void>([&] { return store_.drop_properties(endpoint_, id, true); }));
  for (const PropertyRow& row : found.rows) GW_TRY(remove_blob(root_path_, row.key));
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
