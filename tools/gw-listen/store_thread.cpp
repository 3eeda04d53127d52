#include "store_thread.hpp"

namespace gw::listen {

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
  Job job{&work};
  std::unique_lock<std::mutex> lock(mutex_);
  jobs_.push_back(&job);
  wake_.notify_one();
  done_.wait(lock, [&] { return job.done; });
}

void StoreThread::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job* job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    (*job->work)();
    lock.lock();
    job->done = true;
    done_.notify_all();
  }
}

}  // namespace gw::listen
