// The library's interface: plain C, so that one build serves every version of Python and torch.
#include "conv.h"
#include "parallel.h"
#include "scan.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Returns 1 when delta holds NaN, else 0.
template <class T> static int run_scan(const ScanArgs& args, bool backward, int threads) {
  std::atomic<int> has_nan{0};
  run_tasks(ScanTask<T>::count(args), threads, [&](auto next) {
    const FlushDenormals guard;
    ScanTask<T> scan(args);
    for (int64_t task; (task = next()) >= 0;)
      if (!(backward ? scan.backward(task) : scan.forward(task))) has_nan = 1;
  });
  return has_nan;
}

template <class T, int width> static void run_conv_of(const ConvArgs& args, bool backward, int threads) {
  run_tasks(args.batch * args.d, threads, [&](auto next) {
    const FlushDenormals guard;
    ConvRows<T, width> rows(args);
    for (int64_t row; (row = next()) >= 0;) backward ? rows.backward(row) : rows.forward(row);
  });
}

template <class T> static void run_conv(const ConvArgs& args, bool backward, int threads) {
  if (args.width == 4) return run_conv_of<T, 4>(args, backward, threads);
  run_conv_of<T, 0>(args, backward, threads);
}

// out[i] = the sum of parts[k][i] over k, in the order of k.
template <class T> static void sum_parts(const T* parts, T* out, int64_t count, int64_t size, int threads) {
  constexpr int64_t span = 4096;
  run_tasks((size + span - 1) / span, threads, [&](auto next) {
    for (int64_t task; (task = next()) >= 0;) {
      const int64_t start = task * span, end = std::min(size, start + span);
      std::copy(parts + start, parts + end, out + start);
      for (int64_t k = 1; k < count; k++)
        for (int64_t i = start; i < end; i++) out[i] += parts[k * size + i];
    }
  });
}

// out[i] = 2^x[i], computed `repeats` times from the cache: the machine's limit for the scan, and a test of `exp2`.
EXPORT void exp2_float(const float* x, float* out, int64_t size, int repeats, int threads) {
  constexpr int64_t span = 2048, lanes = Simd<float>::lanes;
  run_tasks((size + span - 1) / span, threads, [&](auto next) {
    for (int64_t task; (task = next()) >= 0;)
      for (int repeat = 0; repeat < repeats; repeat++)
        for (int64_t i = task * span; i < std::min(size, (task + 1) * span); i += lanes)
          store(out + i, exp2<float>(load(x + i, size - i)), size - i);
  });
}

EXPORT void set_parallel_region(void* region) { parallel_region = reinterpret_cast<ParallelRegion>(region); }
EXPORT int chunk_length() { return CHUNK; }
EXPORT int vector_bytes() { return VECTOR_BYTES; }
EXPORT int scan_args_size() { return sizeof(ScanArgs); }
EXPORT int conv_args_size() { return sizeof(ConvArgs); }

EXPORT int scan_float(const ScanArgs* args, int backward, int threads) {
  return run_scan<float>(*args, backward, threads);
}
EXPORT int scan_double(const ScanArgs* args, int backward, int threads) {
  return run_scan<double>(*args, backward, threads);
}
EXPORT void conv_float(const ConvArgs* args, int backward, int threads) { run_conv<float>(*args, backward, threads); }
EXPORT void conv_double(const ConvArgs* args, int backward, int threads) { run_conv<double>(*args, backward, threads); }
EXPORT void sum_float(const float* parts, float* out, int64_t count, int64_t size, int threads) {
  sum_parts(parts, out, count, size, threads);
}
EXPORT void sum_double(const double* parts, double* out, int64_t count, int64_t size, int threads) {
  sum_parts(parts, out, count, size, threads);
}
