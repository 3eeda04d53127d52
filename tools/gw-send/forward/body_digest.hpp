// Content-MD5 of bodies. Those in memory are done at once; files on a thread of their own, with constant memory, so that one of
// many gigabytes delays nobody. A file that goes to many sites is read once.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "transfer.hpp"

namespace gw {

/// What a request says of its body.
struct BodySums {
  std::string md5;      ///< base64
  uint64_t digits = 0;  ///< of its bytes as numbers, for an envelope
};
/// base64 of the MD5 of a body in memory.
std::string content_md5(const std::string& bytes);

class BodyDigester {
 public:
  /// `ready` gets each transfer with the sums of its calls, in their order; an error text instead if a file cannot be read. Called
  /// from the thread.
  using Ready = std::function<void(TransferPtr&&, const std::vector<BodySums>& sums, std::string error)>;
  explicit BodyDigester(Ready ready) : ready_(std::move(ready)) {}
  ~BodyDigester();
  void add(TransferPtr transfer);

 private:
  struct Known {
    uint64_t device, inode, bytes;
    int64_t changed_ns;
    BodySums sums;
  };
  void run();
  Result<std::vector<BodySums>> sums_of(const Transfer& transfer);
  Result<BodySums> digest(const BodyFile& file);

  Ready ready_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<TransferPtr> waiting_;
  bool stop_ = false;
  std::deque<Known> known_;  // the thread's own; newest first
  std::thread thread_;       // started with the first file
};

}  // namespace gw
