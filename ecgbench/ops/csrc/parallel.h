// Tasks handed out to threads. Which thread runs a task does not change what it computes.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

// GOMP_parallel of the OpenMP runtime that the process has loaded, if the caller found one: one pool of threads for
// torch and the kernels, instead of two that compete for the cores.
typedef void (*ParallelRegion)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
inline ParallelRegion parallel_region = nullptr;

// Calls `worker` on up to `threads` threads, each with a function that gives the next task's index, or -1.
template <class Worker> void run_tasks(int64_t tasks, int threads, Worker worker) {
  struct Job {
    Worker& worker;
    const int64_t tasks;
    std::atomic<int64_t> next{0};
    static void run(void* self) {
      Job& job = *static_cast<Job*>(self);
      job.worker([&job] {
        const int64_t task = job.next.fetch_add(1);
        return task < job.tasks ? task : -1;
      });
    }
  } job{worker, tasks};
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1) return Job::run(&job);
  if (parallel_region) return parallel_region(Job::run, &job, threads, 0);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back(Job::run, &job);
  Job::run(&job);
  for (std::thread& other : others) other.join();
}
