// Where the bytes of a body go while they come in.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "data_bus.hpp"
#include "hash.hpp"
#include "queue.hpp"

namespace gw::listen {

/// Of one body: SHA-256 always, MD5 if the sender has named his.
class Digests {
 public:
  explicit Digests(bool with_md5) : sha256_(Digest::Kind::sha256) {
    if (with_md5) md5_.emplace(Digest::Kind::md5);
  }
  void update(std::string_view bytes) {
    sha256_.update(bytes);
    if (md5_) md5_->update(bytes);
  }
  Sha256 sha256() {
    std::string bytes = sha256_.finish();
    Sha256 result;
    std::copy(bytes.begin(), bytes.end(), result.begin());
    return result;
  }
  std::string md5() { return md5_ ? base64(md5_->finish()) : std::string(); }

 private:
  Digest sha256_;
  std::optional<Digest> md5_;
};

/// Bodies that end below the limit of the queue never see a file.
class BodySink {
 public:
  explicit BodySink(const std::function<BodyWriter()>& writer) : make_writer_(writer) {}
  Result<void> write(std::string_view bytes) {
    if (!writer_ && memory_.size() + bytes.size() <= inline_body_bytes_max) {
      memory_ += bytes;
      return {};
    }
    if (!writer_) {
      writer_.emplace(make_writer_());
      GW_TRY(writer_->write(memory_));
      memory_ = {};
    }
    return writer_->write(bytes);
  }
  Result<Body> finish() {
    if (!writer_) return Body(std::move(memory_));
    return std::move(*writer_).finish();
  }

 private:
  const std::function<BodyWriter()>& make_writer_;
  std::optional<BodyWriter> writer_;
  std::string memory_;
};

/// The body of a property. One that is known already is only counted and hashed.
class BlobSink {
 public:
  BlobSink(DataBus& data_bus, bool known) : data_bus_(data_bus), known_(known) {}
  Result<void> write(std::string_view bytes) {
    size_ += bytes.size();
    if (known_) return {};
    GW_TRY(open());
    return blob_->writer.write(bytes);
  }
  Result<DedupStore::AddedProperty> finish(PropertyRow&& row, bool even_after_message, int64_t expires_at_ms) {
    GW_TRY(open());
    row.bytes = size_;
    return data_bus_.add(*std::move(blob_), std::move(row), even_after_message, expires_at_ms);
  }

 private:
  Result<void> open() {
    if (blob_) return {};
    auto begun = data_bus_.begin();
    if (!begun) return std::move(begun).error();
    blob_.emplace(*std::move(begun));
    return {};
  }
  DataBus& data_bus_;
  bool known_;
  uint64_t size_ = 0;
  std::optional<DataBus::Blob> blob_;
};

}  // namespace gw::listen
