// One thread with a large stack, for work on files and databases: those of the HTTP server, which serve connections, have little.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace gw {

class StoreThread {
 public:
  StoreThread();
  /// Waits for what was handed over. Nobody may be in run() any more.
  ~StoreThread();
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  /// Runs `work` there and returns when it is done; one at a time, in order. Any thread but this one.
  void run(const std::function<void()>& work);
  /// Returns at once. Any thread.
  void post(std::function<void()> work);

 private:
  struct Job {
    std::function<void()> work;
    bool* done = nullptr;  // of who waits for it
  };
  void loop();
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace gw
