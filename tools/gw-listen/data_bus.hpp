// Data bus properties as a listener gets them: each in a call of its own, before the message that names them, perhaps at another
// listener of the endpoint. What they are is in the endpoint's store, their bytes are files below <root>/databus/.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "databus.hpp"
#include "dedup_store.hpp"
#include "store_thread.hpp"
#include "wire_codec.hpp"

namespace gw::listen {

/// All functions: any thread with little stack. not_now: full disk. If the store is in doubt `on_doubt` is called; it must not return.
class DataBus {
 public:
  DataBus(std::string root_path, std::string endpoint, DedupStore& store, StoreThread& thread, std::function<void(const Error&)> on_doubt)
      : root_path_(std::move(root_path)), endpoint_(std::move(endpoint)), store_(store), thread_(thread), on_doubt_(std::move(on_doubt)) {}

  struct Blob {
    std::string key;
    BlobWriter writer;
  };
  Result<Blob> begin();
  /// Durable when it returns. The file of a property that was known goes. `expires_at_ms`: when nobody wants it any more; 0: unknown.
  Result<DedupStore::AddedProperty> add(Blob&& blob, PropertyRow&& row, bool even_after_message, int64_t expires_at_ms);
  /// Properties whose blob is gone (its time to be received is over) count as never received.
  Result<DedupStore::Properties> find(const std::string& id, bool lease);
  /// The message owns the files from now on.
  Result<void> accepted(const std::string& id);
  /// Nobody will ever ask for them.
  Result<void> discard(const std::string& id);
  const std::string& root_path() const { return root_path_; }

 private:
  template <class T>
  Result<T> in_store(const std::function<Result<T>()>& work);
  Result<void> discard(const std::string& id, const std::vector<PropertyRow>& rows);
  std::string root_path_, endpoint_;
  DedupStore& store_;
  StoreThread& thread_;
  std::function<void(const Error&)> on_doubt_;
};

struct ExpectedProperty {
  std::string wire_name;
  std::string header;  ///< of the message; empty: it does not get there
};
/// Those that a submit waits for.
std::vector<ExpectedProperty> expected_properties(const WireCall& call);
/// Those of a message that is held, whose wire names are known from the properties only.
std::vector<ExpectedProperty> expected_properties(const Headers& held, const std::vector<PropertyRow>& rows);
/// Why it cannot be accepted yet; nullopt: all are there.
std::optional<WireRefusal> missing_property(const std::vector<ExpectedProperty>& expected, const std::vector<PropertyRow>& rows);
/// Keeps the blobs until their message is stored. Rows whose blob is gone are taken out.
class HeldProperties {
 public:
  explicit HeldProperties(std::string root_path) : root_path_(std::move(root_path)) {}
  Result<void> hold(std::vector<PropertyRow>& rows);
  /// The message is there, or was: what it does not need any more goes.
  void release();

 private:
  std::string root_path_;
  std::vector<BlobHold> holds_;
};
/// Points the headers to the blobs. All are there.
void rewrite_properties(Headers& headers, const std::vector<ExpectedProperty>& expected, const std::vector<PropertyRow>& rows);
/// The one of this name, without regard to the case of ASCII letters.
const PropertyRow* find_property(const std::vector<PropertyRow>& rows, std::string_view name);

}  // namespace gw::listen
