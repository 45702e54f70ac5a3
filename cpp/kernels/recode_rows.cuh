// The device side of applying an encoding to rows of pixels; crops and whole pictures share it.
#pragma once

#include "launch.cuh"
#include "vectors.cuh"

namespace copycat {

inline constexpr int kRowWarps = kThreads / kWarp;
inline constexpr int kSpan = kWarp * kRun;  // elements of a row that a warp handles at once

// A channel's numbers in shared memory; multiply is 1 / std forward and std backward.
struct SharedEncoding {
  float scale[kMostChannels];
  float inverse_scale[kMostChannels];
  float offset[kMostChannels];
  float multiply[kMostChannels];
};

// Called by one warp; the block must be synchronised before use.
__device__ __forceinline__ void fill(SharedEncoding& shared, const Encoding& encoding, int channels,
                                     bool inverse) {
  const int c = static_cast<int>(threadIdx.x) % kWarp;
  if (c < channels) {
    const float scale = encoding.log_scale[c];
    shared.scale[c] = scale;
    shared.inverse_scale[c] = scale > 0.0f ? 1.0f / scale : 0.0f;
    shared.offset[c] = encoding.mean[c];
    shared.multiply[c] = inverse ? encoding.std[c] : 1.0f / encoding.std[c];
  }
}

// A rectangle of output rows: where its pixels come from and where they go, in elements.
struct Rows {
  const void* source;
  int64_t down, right, channel_stride;
  void* output;
  int channels;
  int length;  // elements of a row, width x channels
  int first_row, end_row;
  int first_span, end_span;
};

// The grade of pixels that are only encoded: none.
struct NoGrading {
  template <typename In>
  __device__ __forceinline__ void apply(const Rows&, const In*, int, int, float (&)[kRun]) const {}
};

// Where the results of a column of runs go: beside each other, in rows without gaps.
template <typename Out>
class IntoRows {
 public:
  __device__ __forceinline__ IntoRows(const Rows& rows, int at)
      : first_(static_cast<Out*>(rows.output) + at),
        length_(rows.length),
        // Every row starts at a multiple of its length from the output's first element.
        aligned_(rows.length * static_cast<int>(sizeof(Out)) % 16 == 0 &&
                 reinterpret_cast<uintptr_t>(rows.output) % 16 == 0) {}

  __device__ __forceinline__ void put(const Out (&out)[kRun], int y, int count) const {
    Out* to = first_ + static_cast<int64_t>(y) * length_;
    if (aligned_ && count == kRun) {
      store_run(out, to);
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        if (i < count) to[i] = out[i];
      }
    }
  }

 private:
  Out* first_;
  int length_;
  bool aligned_;
};

// What makes them.
template <typename Out>
struct ToRows {
  __device__ __forceinline__ IntoRows<Out> column(const Rows& rows, int at, int, int) const {
    return {rows, at};
  }
};

// All threads of the block; warps take turns at the rows of a span, so that the channels' numbers stay in
// registers.
template <typename In, typename Out, bool kLog, bool kInverse, typename Grading, typename Target>
__device__ __forceinline__ void recode_spans(const Rows& rows, const SharedEncoding& encoding,
                                             const Grading& grading, const Target& target) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const bool dense = rows.channel_stride == 1 && rows.right == rows.channels;
  for (int span = rows.first_span; span < rows.end_span; ++span) {
    const int at = span * kSpan + lane * kRun;
    const int count = least(kRun, rows.length - at);
    if (count <= 0) continue;
    const int pixel = at / rows.channels;
    const int channel = at - pixel * rows.channels;
    float scale[kRun], inverse_scale[kRun], offset[kRun], multiply[kRun];
    for (int i = 0, c = channel; i < kRun; ++i) {
      scale[i] = kLog ? encoding.scale[c] : 0.0f;
      inverse_scale[i] = kLog && kInverse ? encoding.inverse_scale[c] : 0.0f;
      offset[i] = encoding.offset[c];
      multiply[i] = encoding.multiply[c];
      c = c + 1 == rows.channels ? 0 : c + 1;
    }
    const auto convert = [&](float value, int i) {
      Out out;
      if (kInverse) {
        const float encoded = value * multiply[i] + offset[i];
        store(kLog ? signed_exp(encoded, scale[i], inverse_scale[i]) : encoded, out);
      } else {
        store(((kLog ? signed_log(value, scale[i]) : value) - offset[i]) * multiply[i], out);
      }
      return out;
    };
    const In* source =
        static_cast<const In*>(rows.source) + pixel * rows.right + channel * rows.channel_stride;
    const auto column = target.column(rows, at, pixel, channel);
    const int64_t next_pixel = rows.right - (rows.channels - 1) * rows.channel_stride;
    for (int y = rows.first_row + warp; y < rows.end_row; y += kRowWarps) {
      const In* from = source + y * rows.down;
      In in[kRun];
      Out out[kRun];
      if (dense && count == kRun) {
        load_run(from, in);
      } else {
        int c = channel;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          in[i] = i < count ? *from : In{};
          ++c;
          from += c == rows.channels ? next_pixel : rows.channel_stride;
          c = c == rows.channels ? 0 : c;
        }
      }
      float values[kRun];
#pragma unroll
      for (int i = 0; i < kRun; ++i) values[i] = load(in[i]);
      grading.apply(rows, static_cast<const In*>(rows.source) + y * rows.down + pixel * rows.right, channel,
                    count, values);
#pragma unroll
      for (int i = 0; i < kRun; ++i) out[i] = convert(values[i], i);
      column.put(out, y, count);
    }
  }
}

// The source's type is the same for all threads of a launch, so that the branch costs next to nothing.
template <typename Out, bool kLog, bool kInverse, typename Grading, typename Target = ToRows<Out>>
__device__ __forceinline__ void recode_rows(DType type, const Rows& rows, const SharedEncoding& encoding,
                                            const Grading& grading, const Target& target = Target{}) {
  switch (type) {
    case DType::kFloat32:
      recode_spans<float, Out, kLog, kInverse>(rows, encoding, grading, target);
      break;
    case DType::kFloat16:
      recode_spans<Half, Out, kLog, kInverse>(rows, encoding, grading, target);
      break;
    case DType::kBFloat16:
      recode_spans<BFloat, Out, kLog, kInverse>(rows, encoding, grading, target);
      break;
    case DType::kUInt8:
      recode_spans<uint8_t, Out, kLog, kInverse>(rows, encoding, grading, target);
      break;
  }
}

inline bool any_log(const Encoding& encoding, int channels) {
  for (int c = 0; c < channels; ++c) {
    if (encoding.log_scale[c] > 0.0f) return true;
  }
  return false;
}

inline int64_t spans(int64_t length) { return (length + kSpan - 1) / kSpan; }

}  // namespace copycat
