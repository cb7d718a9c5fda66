#include "trlm/adapt/executor.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "quietly.hpp"

namespace trlm::adapt {
namespace {

/// A fixed set of threads that take the tasks of one call at a time, the caller helping.
class ThreadPool {
public:
    /// Starts as many of the threads as system and memory allow.
    explicit ThreadPool(std::size_t helpers) {
        threads_.reserve(helpers);
        // Fewer threads are slower, not wrong.
        (void)quietly([&] {
            while (threads_.size() < helpers)
                threads_.emplace_back([this] { serve(); });
        });
    }

    /// Threads that work, the calling one included.
    [[nodiscard]] std::size_t concurrency() const noexcept { return threads_.size() + 1; }

    ~ThreadPool() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_)
            thread.join();
    }

    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    void run(std::size_t count, const std::function<void(std::size_t)>& task) {
        const std::lock_guard one_call_at_a_time(call_mutex_);
        std::unique_lock lock(mutex_);
        task_ = &task;
        next_ = 0;
        count_ = count;
        unfinished_ = count;
        wake_.notify_all();
        work(lock);
        done_.wait(lock, [this] { return unfinished_ == 0; });
        task_ = nullptr;
    }

private:
    /// Takes tasks until none is left. `lock` is held on entry and on return.
    void work(std::unique_lock<std::mutex>& lock) {
        while (task_ != nullptr && next_ < count_) {
            const std::size_t index = next_++;
            const auto& task = *task_;
            lock.unlock();
            task(index);
            lock.lock();
            if (--unfinished_ == 0) done_.notify_all();
        }
    }

    void serve() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return stopping_ || (task_ != nullptr && next_ < count_); });
            if (stopping_) return;
            work(lock);
        }
    }

    std::mutex call_mutex_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    const std::function<void(std::size_t)>* task_ = nullptr;
    std::size_t next_ = 0;
    std::size_t count_ = 0;
    std::size_t unfinished_ = 0;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace

Executor make_executor(std::size_t threads) {
    if (threads == 0) threads = std::thread::hardware_concurrency();
    Executor executor;
    if (threads <= 1) return executor;
    (void)quietly([&] {
        const auto pool = std::make_shared<ThreadPool>(threads - 1);
        executor.parallel_for = [pool](std::size_t count,
                                       const std::function<void(std::size_t)>& task) {
            pool->run(count, task);
        };
        executor.concurrency = pool->concurrency();
    });
    return executor;
}

}  // namespace trlm::adapt
