// The depthwise causal convolution with its activation, forward and backward, a row (channel of a batch entry) at a time.
//
// A row is copied into scratch together with the samples that come before it in the run: in front of it, or behind it
// when the run is reversed. Tap k then meets sample t + k for every output t, with the taps in the order of time, and
// the loops know neither edges nor direction.
#pragma once
#include <algorithm>
#include <vector>

#include "view.h"

struct ConvArgs {
  int64_t batch, d, length, width;
  int32_t silu, reverse;
  View x, weight, bias, initial;  // inputs; initial (batch, d, width - 1), oldest first
  View y;                         // output
  View grad_y;                    // input of the backward pass
  View grad_x, grad_initial;      // outputs of the backward pass
  View sum_weight, sum_bias;      // outputs still to be summed over the batch
};

// `fixed` is the width when it is known at compile time, else 0.
template <class T, int fixed> class ConvRows {
 public:
  explicit ConvRows(const ConvArgs& args)
      : a(args), width(fixed ? fixed : args.width), before(width - 1), taps(width), sums(width),
        inputs(args.length + before + lanes), grads(args.length + 2 * before + lanes) {}

  void forward(int64_t row) {
    load_row(row);
    T* y = a.y.at<T>(batch, d);
    for (int64_t t = 0; t < a.length; t += lanes) {
      const V s = filter(t);
      store(y + t, a.silu ? s * sigmoid<T>(s) : s, a.length - t);
    }
  }

  void backward(int64_t row) {
    load_row(row);
    differentiate_outputs();
    T* x = a.grad_x.at<T>(batch, d);
    for (int64_t t = 0; t < a.length; t += lanes) store(x + t, input_gradient(t + own()), a.length - t);
    for (int64_t i = 0; a.grad_initial && i < before; i++)
      *a.grad_initial.at<T>(batch, d, i) = input_gradient(initial_position(i))[0];
  }

 private:
  typedef Vec<T> V;
  static constexpr int lanes = Simd<T>::lanes;
  struct Lanes {
    V v;
  };

  const ConvArgs& a;
  const int64_t width, before;
  int64_t batch = 0, d = 0;
  std::vector<T> taps;
  std::vector<Lanes> sums;
  std::vector<T> inputs;  // the row and the samples before it in the run
  std::vector<T> grads;   // `before` zeros, the gradient at the row's outputs, zeros

  int64_t taps_count() const { return fixed ? fixed : width; }
  int64_t own() const { return a.reverse ? 0 : before; }
  int64_t initial_position(int64_t i) const { return a.reverse ? a.length + before - 1 - i : i; }
  int64_t weight_index(int64_t k) const { return a.reverse ? before - k : k; }

  void load_row(int64_t row) {
    batch = row / a.d, d = row % a.d;
    for (int64_t k = 0; k < width; k++) taps[k] = *a.weight.at<T>(d, weight_index(k));
    const T* x = a.x.at<T>(batch, d);
    T* to = &inputs[own()];
    if (a.x.stride[2] == 1)
      std::copy_n(x, a.length, to);
    else
      for (int64_t t = 0; t < a.length; t++) to[t] = x[t * a.x.stride[2]];
    for (int64_t i = 0; a.initial && i < before; i++) inputs[initial_position(i)] = *a.initial.at<T>(batch, d, i);
  }

  V filter(int64_t t) const {
    V s = splat<T>(a.bias ? *a.bias.at<T>(d) : T(0));
#pragma GCC unroll 8
    for (int64_t k = 0; k < taps_count(); k++) s += load(&inputs[t + k]) * taps[k];
    return s;
  }

  // Gradient at `lanes` positions of `inputs` from `position` on.
  V input_gradient(int64_t position) const {
    V sum{};
#pragma GCC unroll 8
    for (int64_t k = 0; k < taps_count(); k++) sum += load(&grads[position + before - k]) * taps[k];
    return sum;
  }

  // Fill `grads`, and write the sums over time that are the gradients of the taps and the bias.
  void differentiate_outputs() {
    V local[fixed ? fixed : 1];
    V* sum = local;
    if (!fixed) sum = &sums[0].v;
    for (int64_t k = 0; k < taps_count(); k++) sum[k] = V{};
    V total{};
    const T* grad_y = a.grad_y.at<T>(batch, d);
    const int64_t stride = a.grad_y.stride[2];
    for (int64_t t = 0; t < a.length; t += lanes) {
      const int64_t count = std::min<int64_t>(lanes, a.length - t);
      V g = stride == 1 ? load(grad_y + t, count) : gather(grad_y + t * stride, stride, count);
      if (a.silu) {
        const V s = filter(t), sig = sigmoid<T>(s);
        g *= sig * (T(1) + s * (T(1) - sig));
      }
      store(&grads[before + t], g, count);
      g = load(&grads[before + t]);
      total += g;
#pragma GCC unroll 8
      for (int64_t k = 0; k < taps_count(); k++) sum[k] += g * load(&inputs[t + k]);
    }
    for (int64_t k = 0; k < taps_count(); k++) *a.sum_weight.at<T>(batch, d, weight_index(k)) = add_lanes(sum[k]);
    if (a.sum_bias) *a.sum_bias.at<T>(batch, d) = add_lanes(total);
  }

  static T add_lanes(V v) {
    T sum = 0;
    for (int i = 0; i < lanes; i++) sum += v[i];
    return sum;
  }
};
