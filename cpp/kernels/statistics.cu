// Moments of a bank on the GPU: one block per part of the rows, then one block per channel joins the parts.
#include <type_traits>

#include "launch.cuh"
#include "vectors.cuh"

namespace copycat {
namespace {

// A slot's sums are floats, relative to a value of the same channel: a part has so few rows that at most some
// hundred values meet in one slot. Deviations too large for that are summed again in double.
struct Slot {
  float sum, squares, minimum, maximum;
  int non_finite;
};

__device__ __forceinline__ bool is_finite(float value) {
  return (bits_of(value) & 0x7f800000u) != 0x7f800000u;
}

__device__ __forceinline__ double add_lanes(double value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

__device__ __forceinline__ float extreme_of_lanes(float value, bool largest) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, value, distance);
    value = largest ? fmaxf(value, other) : fminf(value, other);
  }
  return value;
}

__device__ __forceinline__ float middle_of(float a, float b, float c) {
  return fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
}

// A finite value that the channel has in the part's rows, 0 when there is none. The middle one of three,
// because the float sums lose digits when it is an outlier.
template <typename In>
__device__ __forceinline__ float find_shift(const Statistics& operation, int channel, int64_t first_row,
                                            int64_t end_row) {
  const Pixels& source = operation.source;
  for (int64_t row = first_row; row < end_row; ++row) {
    const int64_t picture = row / source.height;
    const int64_t y = row % source.height;
    const int32_t* valid = operation.valid + picture * 4;
    if (y < valid[1] || y >= valid[3]) continue;
    const In* line = static_cast<const In*>(source.data) + picture * source.count_stride +
                     y * source.row_stride + channel * source.channel_stride;
    const int32_t end = least(valid[2], static_cast<int32_t>(source.width));
    for (int32_t x = most(valid[0], 0); x < end; ++x) {
      const float first = load(line[x * source.pixel_stride]);
      if (!is_finite(first)) continue;
      const float middle = load(line[(x + (end - x) / 2) * source.pixel_stride]);
      const float last = load(line[(end - 1) * source.pixel_stride]);
      return middle_of(first, is_finite(middle) ? middle : first, is_finite(last) ? last : first);
    }
  }
  return 0.0f;
}

template <typename In>
__global__ void __launch_bounds__(kThreads) parts_kernel(const __grid_constant__ Statistics operation) {
  __shared__ float shifts[kMostChannels];
  __shared__ float lanes[kThreads * kRun];
  const Pixels& source = operation.source;
  const int channels = source.channels;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t rows = source.count * source.height;
  const int64_t part = blockIdx.x;
  const int64_t first_row = part * rows / operation.partial_count;
  const int64_t end_row = (part + 1) * rows / operation.partial_count;
  if (thread < channels) shifts[thread] = find_shift<In>(operation, thread, first_row, end_row);
  __syncthreads();

  // So many threads that the step from one run of a thread to its next is whole pixels: slot i of a thread
  // always sees the same channel.
  const int active = kThreads / channels * channels;
  const int channel = thread * kRun % channels;
  Slot slots[kRun];
  float shift[kRun];
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    shift[i] = shifts[(channel + i) % channels];
    slots[i] = {0.0f, 0.0f, shift[i], shift[i], 0};
  }
  const auto take = [&](In element, int i) {
    const float value = load(element);
    const bool finite = is_finite(value);
    const float counted = finite ? value : shift[i];  // shift is a value of the channel: no extreme moves
    const float delta = counted - shift[i];
    slots[i].sum += delta;
    slots[i].squares += delta * delta;
    slots[i].minimum = fminf(slots[i].minimum, counted);
    slots[i].maximum = fmaxf(slots[i].maximum, counted);
    slots[i].non_finite += finite ? 0 : 1;
  };
  const bool dense = source.channel_stride == 1 && source.pixel_stride == channels;
  int64_t pixels = 0;
  for (int64_t row = first_row; row < end_row && thread < active; ++row) {
    const int64_t picture = row / source.height;
    const int64_t y = row % source.height;
    const int32_t* valid = operation.valid + picture * 4;
    const int32_t left = most(valid[0], 0);
    const int32_t right = least(valid[2], static_cast<int32_t>(source.width));
    if (y < valid[1] || y >= valid[3] || left >= right) continue;
    const In* line = static_cast<const In*>(source.data) + picture * source.count_stride +
                     y * source.row_stride + left * source.pixel_stride;
    const int length = (right - left) * channels;
    pixels += right - left;
    for (int at = thread * kRun; at < length; at += active * kRun) {
      if (dense && at + kRun <= length) {
        In in[kRun];
        load_run(line + at, in);
#pragma unroll
        for (int i = 0; i < kRun; ++i) take(in[i], i);
      } else {
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          if (at + i < length) {
            const int pixel = (at + i) / channels;
            take(line[pixel * source.pixel_stride + (at + i - pixel * channels) * source.channel_stride], i);
          }
        }
      }
    }
  }

  // Warps share the channels out among themselves; each number in turn passes through shared memory.
  const int lane = thread % kWarp;
  const int warp = thread / kWarp;
  const int filled = active * kRun;
  for (int quantity = 0; quantity < 5; ++quantity) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const Slot& slot = slots[i];
      lanes[thread * kRun + i] = quantity == 0   ? slot.sum
                                 : quantity == 1 ? slot.squares
                                 : quantity == 2 ? slot.minimum
                                 : quantity == 3 ? slot.maximum
                                                 : static_cast<float>(slot.non_finite);
    }
    __syncthreads();
    for (int c = warp; c < channels; c += kThreads / kWarp) {
      Moments& moments = operation.partial[part * channels + c];
      if (quantity == 2 || quantity == 3) {
        float extreme = shifts[c];
        for (int i = c + lane * channels; i < filled; i += kWarp * channels) {
          extreme = quantity == 2 ? fminf(extreme, lanes[i]) : fmaxf(extreme, lanes[i]);
        }
        extreme = extreme_of_lanes(extreme, quantity == 3);
        if (lane == 0) (quantity == 2 ? moments.minimum : moments.maximum) = extreme;
        continue;
      }
      double sum = 0;
      for (int i = c + lane * channels; i < filled; i += kWarp * channels)
        sum += static_cast<double>(lanes[i]);
      sum = add_lanes(sum);
      if (lane != 0) continue;
      if (quantity == 0) moments.mean = sum;
      if (quantity == 1) moments.squares = sum;
      if (quantity == 4) {  // the last: until here the moments hold plain sums
        moments.non_finite = sum;
        moments.count = static_cast<double>(pixels) - sum;
        if (moments.count > 0) {
          const double mean = moments.mean / moments.count;
          moments.squares = most(moments.squares - moments.mean * mean, 0.0);
          moments.mean = shifts[c] + mean;
        }
      }
    }
  }
}

// Sums the channels of a part again, in double, if their float sums overflowed (deviations of 1.8e19 or
// more). One block per part; its warps take turns at the channels.
template <typename In>
__global__ void __launch_bounds__(kThreads) overflow_kernel(const __grid_constant__ Statistics operation) {
  const Pixels& source = operation.source;
  const int64_t rows = source.count * source.height;
  const int64_t part = blockIdx.x;
  const int64_t first_row = part * rows / operation.partial_count;
  const int64_t end_row = (part + 1) * rows / operation.partial_count;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int c = static_cast<int>(threadIdx.x) / kWarp; c < source.channels; c += kThreads / kWarp) {
    Moments& moments = operation.partial[part * source.channels + c];
    if (moments.squares < 1e300 && moments.mean < 1e300 && moments.mean > -1e300) continue;
    const double shift = moments.minimum;
    double sum = 0, squares = 0;
    for (int64_t row = first_row; row < end_row; ++row) {
      const int64_t picture = row / source.height;
      const int64_t y = row % source.height;
      const int32_t* valid = operation.valid + picture * 4;
      if (y < valid[1] || y >= valid[3]) continue;
      const In* line = static_cast<const In*>(source.data) + picture * source.count_stride +
                       y * source.row_stride + c * source.channel_stride;
      const int32_t end = least(valid[2], static_cast<int32_t>(source.width));
      for (int32_t x = most(valid[0], 0) + lane; x < end; x += kWarp) {
        const float value = load(line[x * source.pixel_stride]);
        const double delta = is_finite(value) ? static_cast<double>(value) - shift : 0.0;
        sum += delta;
        squares += delta * delta;
      }
    }
    sum = add_lanes(sum);
    squares = add_lanes(squares);
    const double mean = sum / moments.count;
    if (lane != 0) continue;
    moments.mean = shift + mean;
    moments.squares = most(squares - sum * mean, 0.0);
  }
}

__global__ void __launch_bounds__(kThreads) join_kernel(const __grid_constant__ Statistics operation) {
  __shared__ Moments joined[kThreads];
  const int channel = static_cast<int>(blockIdx.x);
  Moments mine = no_moments();
  for (int64_t part = threadIdx.x; part < operation.partial_count; part += kThreads) {
    join(mine, operation.partial[part * operation.source.channels + channel]);
  }
  joined[threadIdx.x] = mine;
  for (unsigned distance = kThreads / 2; distance > 0; distance /= 2) {
    __syncthreads();
    if (threadIdx.x < distance) join(joined[threadIdx.x], joined[threadIdx.x + distance]);
  }
  if (threadIdx.x == 0) operation.output[channel] = joined[0];
}

template <typename In>
void launch_parts(const Statistics& operation, int device, uintptr_t stream) {
  launch("statistics", parts_kernel<In>, operation.partial_count, kThreads, device, stream, operation);
  if constexpr (!std::is_same_v<In, Half> && !std::is_same_v<In, uint8_t>)  // whose values cannot overflow
    launch("statistics", overflow_kernel<In>, operation.partial_count, kThreads, device, stream, operation);
}

}  // namespace

void run_on_cuda(const Statistics& operation, int device, uintptr_t stream) {
  switch (operation.source.dtype) {
    case DType::kFloat32:
      launch_parts<float>(operation, device, stream);
      break;
    case DType::kFloat16:
      launch_parts<Half>(operation, device, stream);
      break;
    case DType::kBFloat16:
      launch_parts<BFloat>(operation, device, stream);
      break;
    case DType::kUInt8:
      launch_parts<uint8_t>(operation, device, stream);
      break;
  }
  launch("statistics", join_kernel, operation.source.channels, kThreads, device, stream, operation);
}

}  // namespace copycat
