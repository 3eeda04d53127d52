#include "body_digest.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "envelope.hpp"
#include "hash.hpp"

namespace gw {
namespace {

constexpr size_t read_bytes = 256 * 1024;
constexpr size_t known_max = 64;

Result<BodySums> read_and_digest(const BodyFile& file) {
  Digest digest(Digest::Kind::md5);
  BodySums sums;
  std::vector<char> buffer(read_bytes);
  for (uint64_t at = 0; at < file.bytes;) {
    const ssize_t n = ::pread(file.fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", file.path, errno);
    if (n == 0) return Error{ExitCode::io_error, 0, "'" + file.path + "' is shorter than it was"};
    const std::string_view bytes(buffer.data(), static_cast<size_t>(n));
    digest.update(bytes);
    sums.digits += envelope_digits(bytes);
    at += static_cast<uint64_t>(n);
  }
  sums.md5 = base64(digest.finish());
  return sums;
}

}  // namespace

std::string content_md5(const std::string& bytes) {
  const Md5 sum = md5(bytes);
  return base64(std::string_view(reinterpret_cast<const char*>(sum.data()), sum.size()));
}

BodyDigester::~BodyDigester() {
  {
    std::lock_guard guard(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void BodyDigester::add(TransferPtr transfer) {
  std::lock_guard guard(mutex_);
  waiting_.push_back(std::move(transfer));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wake_.notify_all();
}

void BodyDigester::run() {
  for (;;) {
    TransferPtr transfer;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      transfer = std::move(waiting_.front());
      waiting_.pop_front();
    }
    auto sums = sums_of(*transfer);
    if (sums)
      ready_(std::move(transfer), *sums, "");
    else
      ready_(std::move(transfer), {}, sums.error().text);
  }
}

Result<std::vector<BodySums>> BodyDigester::sums_of(const Transfer& transfer) {
  std::vector<BodySums> all;
  for (const Call& call : transfer.calls) {
    const Body& body = call.blob ? *call.blob : transfer.claim.message().body;
    if (!body.is_file()) {
      all.push_back({content_md5(body.bytes()), envelope_digits(body.bytes())});
      continue;
    }
    GW_TRY_ASSIGN(BodySums sums, digest(*body.file()));
    all.push_back(std::move(sums));
  }
  return all;
}

Result<BodySums> BodyDigester::digest(const BodyFile& file) {
  struct stat now {};
  if (::fstat(file.fd.get(), &now) != 0) return errno_error("stat", file.path, errno);
  const int64_t changed_ns = now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec;
  auto same = [&](const Known& k) {
    return k.device == now.st_dev && k.inode == now.st_ino && k.bytes == file.bytes && k.changed_ns == changed_ns;
  };
  if (auto it = std::find_if(known_.begin(), known_.end(), same); it != known_.end()) return it->sums;
  GW_TRY_ASSIGN(BodySums sums, read_and_digest(file));
  known_.push_front({now.st_dev, now.st_ino, file.bytes, changed_ns, sums});
  if (known_.size() > known_max) known_.pop_back();
  return sums;
}

}  // namespace gw
