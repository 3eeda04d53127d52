#include "archive_blobs.hpp"

#include "diag.hpp"
#include "hash.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {
constexpr size_t chunk_bytes = 256 * 1024;
}

Result<std::map<std::string, std::string>> export_blobs(TarWriter& tar, const std::string& root_path, const Headers& headers, const std::string& base,
                                                        int64_t put_at_ms, const std::function<Result<void>()>& flush) {
  std::map<std::string, std::string> records;
  size_t number = 0;
  for (const Attachment& attachment : attachments_of(headers, root_path)) {
    auto blob = open_blob(root_path, attachment.key);
    if (!blob && blob.error().code == ExitCode::no_input) continue;
    if (!blob) return std::move(blob).error();
    const std::string suffix = ".blob." + std::to_string(++number);
    TarMember member{base + suffix, blob->size(), put_at_ms, '0', {{"GATEPOST.property", attachment.name}}};
    Digest digest(Digest::Kind::sha256);
    GW_TRY(tar.begin(member));
    for (uint64_t at = 0; at < member.bytes;) {
      GW_TRY_ASSIGN(std::string chunk, blob->read_at(at, chunk_bytes));
      // Its time to be received is over: the bytes have just gone.
      if (chunk.empty()) return Error{ExitCode::not_now, 0, "'" + attachment.path + "' expired while it was being read: export again"};
      digest.update(chunk);
      GW_TRY(tar.data(chunk));
      GW_TRY(flush());
      at += chunk.size();
    }
    GW_TRY(tar.end());
    records["GATEPOST.blob_sha256." + std::to_string(number)] = hex(digest.finish());
  }
  return records;
}

Result<void> ImportedBlobs::begin(const std::string& header) {
  std::string key = new_blob_key(now_ms());
  GW_TRY_ASSIGN(BlobWriter writer, BlobWriter::create(root_path_, key));
  writer_.emplace(std::move(writer));
  names_.emplace_back(header, std::move(key));
  return {};
}

Result<void> ImportedBlobs::write(std::string_view bytes) { return writer_->write(bytes); }

Result<void> ImportedBlobs::end() {
  GW_TRY(writer_->finish());
  writer_.reset();
  GW_TRY_ASSIGN(auto hold, BlobHold::take(root_path_, names_.back().second));
  if (!hold) return Error{ExitCode::system, 0, "'" + blob_path(root_path_, names_.back().second) + "' has been removed by somebody"};
  holds_.push_back(*std::move(hold));
  return {};
}

void ImportedBlobs::rename(Headers& headers) {
  for (auto& [header, key] : names_) headers.set(header, key);
  names_.clear();
}

void ImportedBlobs::release() {
  std::vector<std::string> keys;
  for (const BlobHold& hold : holds_) keys.push_back(hold.key());
  holds_.clear();
  for (const std::string& key : keys)
    if (auto gone = release_blob(root_path_, key); !gone) event(Level::warn, "blob-not-removed", {{"path", blob_path(root_path_, key)}, {"reason", gone.error().text}});
}

}  // namespace gw::inspect
