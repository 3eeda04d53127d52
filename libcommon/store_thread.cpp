#include "store_thread.hpp"

namespace gw {

StoreThread::StoreThread() : thread_([this] { loop(); }) {}

StoreThread::~StoreThread() {
  {
    std::lock_guard<std::mutex> one(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StoreThread::run(const std::function<void()>& work) {
  bool done = false;
  std::unique_lock<std::mutex> lock(mutex_);
  jobs_.push_back({work, &done});
  wake_.notify_one();
  done_.wait(lock, [&] { return done; });
}

void StoreThread::post(std::function<void()> work) {
  std::lock_guard<std::mutex> one(mutex_);
  jobs_.push_back({std::move(work), nullptr});
  wake_.notify_one();
}

void StoreThread::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.work();
    lock.lock();
    if (job.done) {
      *job.done = true;
      done_.notify_all();
    }
  }
}

}  // namespace gw
