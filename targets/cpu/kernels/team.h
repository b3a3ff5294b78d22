// Threads that share the work of a layer.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace {

// Work is handed out in ranges; whoever comes first takes the next one. The result does not depend on it.
struct Stopped {};

class Team {
 public:
  explicit Team(int size) : size_(size) {}
  int size() const { return size_; }
  template <class F> void share(size_t n, size_t grain, F f) {  // every member calls this, in the same order
    for (;;) {
      size_t from = next_.fetch_add(grain);
      if (from >= n) break;
      f(from, std::min(n, from + grain));
    }
    wait();
  }
  // A member that found no memory ends the run of all.
  void stop() {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    all_.notify_all();
  }

 private:
  void wait() {
    if (size_ == 1) { next_ = 0; return; }
    std::unique_lock<std::mutex> lock(mutex_);
    const long turn = turn_;
    if (++arrived_ == size_) {
      arrived_ = 0, turn_++, next_ = 0;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return turn_ != turn || stopped_; });
    }
    if (stopped_) throw Stopped{};
  }

  const int size_;
  int arrived_ = 0;
  long turn_ = 0;
  bool stopped_ = false;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable all_;
};

}  // namespace
