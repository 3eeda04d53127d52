// --retry-policy: a program decides when a failed message is tried again. It may take seconds, so that it runs on threads of its
// own; its message stays claimed meanwhile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "handler.hpp"
#include "transfer.hpp"

namespace gw {

inline constexpr int64_t policy_timeout_ms = 10'000;

/// A duration or `stop`, white space around it ignored. Anything else: Kind::schedule, and why in `trouble`.
PolicyAnswer read_policy_answer(std::string_view output);

/// One question: what the program gets beside the message.
struct PolicyQuestion {
  std::string program;  ///< see find_program
  std::string name;     ///< as the user wrote it: argv[0]
  std::string endpoint, root, config;
  unsigned attempt = 1;  ///< 1: the first one has failed
  std::string error;
};

class PolicyRunner {
 public:
  /// `ready` gets each transfer back with its `policy` filled in. Called from any of the runner's threads.
  using Ready = std::function<void(TransferPtr&&)>;
  explicit PolicyRunner(Ready ready) : ready_(std::move(ready)) {}
  ~PolicyRunner();
  PolicyRunner(const PolicyRunner&) = delete;
  PolicyRunner& operator=(const PolicyRunner&) = delete;

  /// Any thread. Some programs run at once, the rest waits.
  void ask(TransferPtr transfer, PolicyQuestion question);
  /// Any thread. Running programs are killed; what is asked comes back with Kind::schedule, without trouble.
  void stop();

 private:
  static constexpr size_t threads_max = 4;
  struct Item {
    TransferPtr transfer;
    PolicyQuestion question;
  };
  void run();
  PolicyAnswer answer(const Item& item, ScratchDir& scratch);

  Ready ready_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> waiting_;
  size_t idle_ = 0;
  bool end_ = false;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace gw
