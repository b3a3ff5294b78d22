// Threads that share the work of a layer.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Stopped {};

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Work is handed out in ranges; whoever comes first takes the next one. The result does not depend on it.
//
// Members wait until all work of a turn is done, not until all of them have come: whoever starts late, or lost the
// processor to another program, holds nobody up, finds its turns done and catches up.
class Team {
 public:
  explicit Team(int size) : size_(size) {}
  int size() const { return size_; }
  // Every member calls this, in the same order, each with a count of its own turns.
  template <class F> void share(uint64_t &turn, size_t n, size_t grain, F f) {
    if (n == 0) return;
    if (size_ == 1) return f(size_t(0), n);
    const uint64_t mine = turn++ << BITS;
    for (uint64_t at = next_.load(std::memory_order_acquire);;) {
      if (at >= mine + n) break;
      const size_t from = size_t(at - mine), to = std::min(n, from + grain);
      if (!next_.compare_exchange_weak(at, mine + to, std::memory_order_acq_rel)) continue;
      f(from, to);
      if (done_.fetch_add(to - from, std::memory_order_acq_rel) + (to - from) == n) return finish(mine);
      at = next_.load(std::memory_order_acquire);
    }
    wait(mine + (uint64_t(1) << BITS));
  }
  // A member that found no memory ends the run of all.
  void stop() {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    all_.notify_all();
  }

 private:
  static constexpr int BITS = 40;      // of the number of a piece of work; above them, the turn's
  static constexpr int PATIENCE = 400;  // 10 to 20 us: less than it takes to fall asleep and wake up

  void finish(uint64_t mine) {
    done_.store(0, std::memory_order_relaxed);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      next_.store(mine + (uint64_t(1) << BITS), std::memory_order_release);
    }
    all_.notify_all();
  }
  void wait(uint64_t next) {
    for (int k = 0; k < PATIENCE; k++, relax())
      if (next_.load(std::memory_order_acquire) >= next) break;
    if (next_.load(std::memory_order_acquire) < next) {
      std::unique_lock<std::mutex> lock(mutex_);
      all_.wait(lock, [&] { return next_.load(std::memory_order_acquire) >= next || stopped_; });
    }
    if (stopped_) throw Stopped{};
  }

  const int size_;
  std::atomic<uint64_t> next_{0};  // turn and number of the next piece
  std::atomic<size_t> done_{0};    // pieces of this turn
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::condition_variable all_;
};

}  // namespace
