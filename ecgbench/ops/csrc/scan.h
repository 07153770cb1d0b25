// The selective scan, forward and backward, over one block of channels of one batch entry.
//
// Lanes are channels: every sum over the state stays within a lane, and any state size will do. Time is cut into chunks
// of CHUNK steps. The forward pass stores the state before each chunk; the backward pass recomputes a chunk's states
// from it. Positions within a chunk are counted in time; with `reverse` the loops run through them backwards, so
// nothing is flipped. States are taken a few at a time (`group`), so that the recurrences of a group hide each other's
// latency and the sums over the state are written once per group.
#pragma once
#include <algorithm>
#include <vector>

#include "view.h"

struct ScanArgs {
  int64_t batch, d, length, state, block;  // block: channels of a task, a multiple of all lane counts
  int32_t delta_softplus, reverse;
  View u, delta, A, B, C, D, z, delta_bias, h0;       // inputs
  View y, last, checkpoints;                          // outputs; checkpoints (batch, chunk * state + n, d)
  View grad_y, grad_last;                             // inputs of the backward pass
  View grad_u, grad_delta, grad_z, grad_h0;           // outputs of the backward pass
  View sum_A, sum_D, sum_bias;                        // outputs still to be summed over the batch
  View sum_B, sum_C;                                  // the same over blocks: (block * batch + entry, n, t)
};

template <class T> class ScanTask {
 public:
  explicit ScanTask(const ScanArgs& args) : a(args), scratch(3 * args.state) {}

  static int64_t blocks(const ScanArgs& a) { return (a.d + a.block - 1) / a.block; }
  static int64_t count(const ScanArgs& a) { return a.batch * blocks(a); }

  // Both return whether all of delta was a number.
  bool forward(int64_t task) {
    for_each_group(task, [this] { forward_channels(); });
    return !has_nan;
  }

  bool backward(int64_t task) {
    part = task % blocks(a) * a.batch + task / blocks(a);
    for (const View* sum : {&a.sum_B, &a.sum_C}) std::fill_n(sum->at<T>(part), a.state * a.length, T(0));
    for_each_group(task, [this] { backward_channels(); });
    return !has_nan;
  }

 private:
  typedef Vec<T> V;
  static constexpr int lanes = Simd<T>::lanes;
  static constexpr int group = 4;  // states at a time

  struct Lanes {
    V v;
  };

  const ScanArgs& a;
  Place place{};
  int64_t part = 0;  // the task's entry in sum_B and sum_C
  bool has_nan = false;
  std::vector<Lanes> scratch;
  // tiles of the present chunk
  Tile<T> step, slope, input, output, u, gate, grad, grad_input, grad_rate;

  V& rate(int64_t n) { return scratch[n].v; }                // decay rate in powers of two
  V& carry(int64_t n) { return scratch[a.state + n].v; }     // state, or adjoint, at the chunk's edge
  V& grad_A(int64_t n) { return scratch[2 * a.state + n].v; }
  int64_t chunks() const { return (a.length + CHUNK - 1) / CHUNK; }
  V parameter(const View& v) const { return v ? gather(v.at<T>(place.d), v.stride[0], place.channels) : V{}; }
  T* checkpoint(int64_t chunk, int64_t n) const { return a.checkpoints.at<T>(place.batch, chunk * a.state + n, place.d); }

  template <class F> void for_each_group(int64_t task, F channels) {
    const int64_t start = task % blocks(a) * a.block, end = std::min(a.d, start + a.block);
    place.batch = task / blocks(a);
    for (place.d = start; place.d < end; place.d += lanes) {
      place.channels = std::min<int64_t>(lanes, end - place.d);
      for (int64_t n = 0; n < a.state; n++)
        rate(n) = gather(a.A.at<T>(place.d, n), a.A.stride[0], place.channels) * T(LOG2_E);
      channels();
    }
  }

  // Run through the chunks in the order of the scan, or against it.
  template <class F> void for_each_chunk(bool descending, F body) {
    for (int64_t i = 0; i < chunks(); i++) {
      const int64_t chunk = descending ? chunks() - 1 - i : i;
      place.t = chunk * CHUNK;
      place.steps = std::min<int64_t>(CHUNK, a.length - place.t);
      body(chunk);
    }
  }

  void load_carry(const View& view) {
    for (int64_t n = 0; n < a.state; n++)
      carry(n) = view ? gather(view.at<T>(place.batch, place.d, n), view.stride[1], place.channels) : V{};
  }

  void store_carry(const View& view) {
    for (int64_t n = 0; view && n < a.state; n++)
      scatter(view.at<T>(place.batch, place.d, n), view.stride[1], carry(n), place.channels);
  }

  // Tiles of the step size, its slope against delta, u, and their product.
  void prepare() {
    load_tile(step, a.delta, place);
    load_tile(u, a.u, place);
    const V bias = parameter(a.delta_bias);
    Mask<T> nan{};
    for (int64_t t = 0; t < place.steps; t++) {
      nan |= step[t] != step[t];
      step[t] += bias;
      if (a.delta_softplus) step[t] = softplus<T>(step[t], &slope[t]);
      input[t] = step[t] * u[t];
    }
    for (int i = 0; i < lanes; i++) has_nan |= nan[i] != 0;
  }

  // --- forward ---

  void forward_channels() {
    load_carry(a.h0);
    const V skip = parameter(a.D);
    for_each_chunk(a.reverse, [&](int64_t chunk) {
      for (int64_t n = 0; a.checkpoints && n < a.state; n++)
        store(checkpoint(chunk, n), carry(n), place.channels);
      prepare();
      for (int64_t t = 0; t < place.steps; t++) output[t] = skip * u[t];
      int64_t n = 0;
      for (; n + group <= a.state; n += group) run_states<group>(n);
      for (; n < a.state; n++) run_states<1>(n);
      if (a.z) {
        load_tile(gate, a.z, place);
        for (int64_t t = 0; t < place.steps; t++) output[t] *= gate[t] * sigmoid<T>(gate[t]);
      }
      store_tile(output, a.y, place);
    });
    store_carry(a.last);
  }

  template <int G> void run_states(int64_t n) {
    const int64_t sb = a.B.stride[2], sc = a.C.stride[2], direction = a.reverse ? -1 : 1;
    const T *B[G], *C[G];
    V h[G], r[G];
    for (int g = 0; g < G; g++) {
      B[g] = a.B.at<T>(place.batch, n + g, place.t), C[g] = a.C.at<T>(place.batch, n + g, place.t);
      h[g] = carry(n + g), r[g] = rate(n + g);
    }
    for (int64_t i = 0, t = a.reverse ? place.steps - 1 : 0; i < place.steps; i++, t += direction) {
      const V s = step[t], x = input[t];
      V y = output[t];
#pragma GCC unroll 8
      for (int g = 0; g < G; g++) {
        h[g] = exp2<T>(s * r[g]) * h[g] + x * B[g][t * sb];
        y += h[g] * C[g][t * sc];
      }
      output[t] = y;
    }
    for (int g = 0; g < G; g++) carry(n + g) = h[g];
  }

  // --- backward ---

  void backward_channels() {
    load_carry(a.grad_last);
    for (int64_t n = 0; n < a.state; n++) grad_A(n) = V{};
    const V skip = parameter(a.D);
    V grad_skip{}, grad_bias{};
    for_each_chunk(!a.reverse, [&](int64_t chunk) {
      prepare();
      prepare_gradient(skip);
      int64_t n = 0;
      for (; n + group <= a.state; n += group) differentiate_states<group>(chunk, n);
      for (; n < a.state; n++) differentiate_states<1>(chunk, n);
      finish_gate();
      for (int64_t t = 0; t < place.steps; t++) {
        V grad_step = grad_rate[t] * T(LN_2) + u[t] * grad_input[t];
        if (a.delta_softplus) grad_step *= slope[t];
        grad_skip += grad[t] * u[t];
        grad_bias += grad_step;
        grad_input[t] = grad[t] * skip + step[t] * grad_input[t];
        grad_rate[t] = grad_step;
      }
      store_tile(grad_input, a.grad_u, place);
      store_tile(grad_rate, a.grad_delta, place);
    });
    store_carry(a.grad_h0);
    if (a.sum_D) store(a.sum_D.at<T>(place.batch, place.d), grad_skip, place.channels);
    if (a.sum_bias) store(a.sum_bias.at<T>(place.batch, place.d), grad_bias, place.channels);
    for (int64_t n = 0; n < a.state; n++)
      scatter(a.sum_A.at<T>(place.batch, place.d, n), a.sum_A.stride[1], grad_A(n), place.channels);
  }

  // Tile of the gradient before the gate; `gate` keeps the derivative that grad_z needs.
  void prepare_gradient(V skip) {
    load_tile(grad, a.grad_y, place);
    if (a.z) load_tile(gate, a.z, place);
    for (int64_t t = 0; t < place.steps; t++) {
      grad_input[t] = grad_rate[t] = V{};
      if (!a.z) continue;
      const V z = gate[t], sig = sigmoid<T>(z);
      gate[t] = grad[t] * sig * (T(1) + z * (T(1) - sig));
      grad[t] *= z * sig;
      output[t] = skip * u[t];
    }
  }

  void finish_gate() {
    if (!a.z) return;
    for (int64_t t = 0; t < place.steps; t++) gate[t] *= output[t];
    store_tile(gate, a.grad_z, place);
  }

  template <int G> void differentiate_states(int64_t chunk, int64_t n) {
    // position t of the chunk is at t + 1 in `states`, so that a state on either side of the chunk has a place
    V decays[G][CHUNK], states[G][CHUNK + 2];
    if (a.z)
      recompute<G, true>(chunk, n, decays, states);
    else
      recompute<G, false>(chunk, n, decays, states);
    for (int g = 0; g < G; g++) accumulate(a.sum_C, n + g, grad, &states[g][1]);
    propagate<G>(n, decays, states);
    for (int g = 0; g < G; g++) accumulate(a.sum_B, n + g, input, decays[g]);
  }

  template <int G, bool gated> void recompute(int64_t chunk, int64_t n, V (*decays)[CHUNK], V (*states)[CHUNK + 2]) {
    const int64_t sb = a.B.stride[2], sc = a.C.stride[2], direction = a.reverse ? -1 : 1;
    const T *B[G], *C[G];
    V h[G], r[G];
    for (int g = 0; g < G; g++) {
      B[g] = a.B.at<T>(place.batch, n + g, place.t), C[g] = a.C.at<T>(place.batch, n + g, place.t);
      h[g] = load(checkpoint(chunk, n + g), place.channels), r[g] = rate(n + g);
      states[g][a.reverse ? place.steps + 1 : 0] = h[g];
    }
    for (int64_t i = 0, t = a.reverse ? place.steps - 1 : 0; i < place.steps; i++, t += direction) {
      const V s = step[t], x = input[t];
#pragma GCC unroll 8
      for (int g = 0; g < G; g++) {
        decays[g][t] = exp2<T>(s * r[g]);
        states[g][t + 1] = h[g] = decays[g][t] * h[g] + x * B[g][t * sb];
        if constexpr (gated) output[t] += h[g] * C[g][t * sc];
      }
    }
  }

  // The recurrence run backwards; leaves the adjoint of each state in `decays`.
  template <int G> void propagate(int64_t n, V (*decays)[CHUNK], const V (*states)[CHUNK + 2]) {
    const int64_t sb = a.B.stride[2], sc = a.C.stride[2], direction = a.reverse ? -1 : 1;
    const T *B[G], *C[G];
    V adjoint[G], r[G], sum[G];
    for (int g = 0; g < G; g++) {
      B[g] = a.B.at<T>(place.batch, n + g, place.t), C[g] = a.C.at<T>(place.batch, n + g, place.t);
      adjoint[g] = carry(n + g), r[g] = rate(n + g), sum[g] = grad_A(n + g);
    }
    for (int64_t i = 0, t = a.reverse ? 0 : place.steps - 1; i < place.steps; i++, t -= direction) {
      const V s = step[t], gy = grad[t];
      V by_input = grad_input[t], by_rate = grad_rate[t];
#pragma GCC unroll 8
      for (int g = 0; g < G; g++) {
        const V total = adjoint[g] + gy * C[g][t * sc];
        by_input += total * B[g][t * sb];
        adjoint[g] = total * decays[g][t];
        decays[g][t] = total;
        const V by_exponent = adjoint[g] * states[g][t + 1 - direction];
        sum[g] += by_exponent * s;
        by_rate += by_exponent * r[g];
      }
      grad_input[t] = by_input, grad_rate[t] = by_rate;
    }
    for (int g = 0; g < G; g++) carry(n + g) = adjoint[g], grad_A(n + g) = sum[g];
  }

  // Add the sum over channels of x * y to row n of the gradient of B or C.
  void accumulate(const View& view, int64_t n, const Tile<T>& x, const V* y) {
    T* row = view.at<T>(part, n, place.t);
    int64_t t = 0;
    for (; t < place.steps; t += lanes) {
      const int64_t count = std::min<int64_t>(lanes, place.steps - t);
      V products[lanes];
      if (count == lanes) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes; i++) products[i] = x[t + i] * y[t + i];
      } else {
        for (int i = 0; i < lanes; i++) products[i] = i < count ? x[t + i] * y[t + i] : V{};
      }
      store(row + t, load(row + t, count) + sum_lanes<T>(products), count);
    }
  }
};
