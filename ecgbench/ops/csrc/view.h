// Strided arrays, and tiles of them with the channels in the lanes of vectors.
#pragma once
#include "simd.h"

// A tensor of up to three dimensions, in elements; data is null for an argument that is not there.
struct View {
  void* data;
  int64_t stride[3];

  template <class T> T* at(int64_t i, int64_t j = 0, int64_t k = 0) const {
    return static_cast<T*>(data) + i * stride[0] + j * stride[1] + k * stride[2];
  }
  explicit operator bool() const { return data != nullptr; }
};

constexpr int CHUNK = 128;  // steps between two stored states, and the length of a tile

template <class T> struct Tile {
  Vec<T> at[CHUNK];  // one vector of channels per step
  Vec<T>& operator[](int64_t t) { return at[t]; }
  const Vec<T>& operator[](int64_t t) const { return at[t]; }
};

// Where a tile lies: `channels` (at most `lanes`) from `d` on and `steps` from `t` on, of one batch entry.
struct Place {
  int64_t batch, d, channels, t, steps;
};

// Tile of a (batch, channel, time) tensor. Absent channels read as zero.
template <class T> INLINE void load_tile(Tile<T>& tile, const View& view, const Place& p) {
  constexpr int n = Simd<T>::lanes;
  const T* base = view.at<T>(p.batch, p.d, p.t);
  const int64_t row = view.stride[1], column = view.stride[2];
  int64_t t = 0;
  if (row == 1)
    for (; t < p.steps; t++) tile[t] = load(base + t * column, p.channels);
  if (column == 1 && p.channels == n)
    for (; t + n <= p.steps; t += n) {
      Vec<T> block[n];
#pragma GCC unroll 16
      for (int i = 0; i < n; i++) block[i] = load(base + i * row + t);
      transpose<T>(block);
#pragma GCC unroll 16
      for (int i = 0; i < n; i++) tile[t + i] = block[i];
    }
  for (; t < p.steps; t++) {
    T lanes[n] = {};
    for (int64_t i = 0; i < p.channels; i++) lanes[i] = base[i * row + t * column];
    tile[t] = load(lanes);
  }
}

// Write a tile to a tensor that is contiguous in time.
template <class T> INLINE void store_tile(const Tile<T>& tile, const View& view, const Place& p) {
  constexpr int n = Simd<T>::lanes;
  T* base = view.at<T>(p.batch, p.d, p.t);
  const int64_t row = view.stride[1];
  int64_t t = 0;
  if (p.channels == n)
    for (; t + n <= p.steps; t += n) {
      Vec<T> block[n];
#pragma GCC unroll 16
      for (int i = 0; i < n; i++) block[i] = tile[t + i];
      transpose<T>(block);
#pragma GCC unroll 16
      for (int i = 0; i < n; i++) store(base + i * row + t, block[i]);
    }
  for (; t < p.steps; t++) {
    T lanes[n];
    store(lanes, tile[t]);
    for (int64_t i = 0; i < p.channels; i++) base[i * row + t] = lanes[i];
  }
}

// `channels` values a stride apart, for parameters and states.
template <class T> INLINE Vec<T> gather(const T* p, int64_t stride, int64_t channels) {
  T lanes[Simd<T>::lanes] = {};
  for (int64_t i = 0; i < channels; i++) lanes[i] = p[i * stride];
  return load(lanes);
}

template <class T> INLINE void scatter(T* p, int64_t stride, Vec<T> v, int64_t channels) {
  T lanes[Simd<T>::lanes];
  store(lanes, v);
  for (int64_t i = 0; i < channels; i++) p[i * stride] = lanes[i];
}
