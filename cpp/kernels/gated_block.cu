// Runs the operations of gated_block.h on the GPU: eight channels per thread, a pixel's threads side by side
// in a warp, one pass over memory each.
#include "gated_block.h"
#include "launch.cuh"
#include "vectors.cuh"

namespace copycat {
namespace {

static_assert(kWidestBlockOnGpu == 2 * kWarp * kRun, "a thread holds two runs of a pixel at most");
constexpr int kMostBlocks =
    2048;                    // that walk over the pixels, so that each reads the vectors a few times only
constexpr int kColumns = 8;  // of the gradients' sums, per block that joins the parts

// A run of eight elements of a tensor [pixels, runs] without gaps, as they are stored and as values.
template <typename T>
__device__ __forceinline__ void load_elements(const void* data, int64_t run, T (&in)[kRun]) {
  load_aligned_run(static_cast<const T*>(data) + run * kRun, in);
}

template <typename T>
__device__ __forceinline__ void load_values(const void* data, int64_t run, float (&values)[kRun]) {
  T in[kRun];
  load_elements(data, run, in);
#pragma unroll
  for (int i = 0; i < kRun; ++i) values[i] = load(in[i]);
}

template <typename T>
__device__ __forceinline__ void store_values(const float (&values)[kRun], void* data, int64_t run) {
  T out[kRun];
#pragma unroll
  for (int i = 0; i < kRun; ++i) store(values[i], out[i]);
  store_run(out, static_cast<T*>(data) + run * kRun);
}

// Blocks take whole pixels, so that no thread divides by the number of channels in 64 bits.
struct PixelRun {
  int64_t pixel;
  int run;
};

__device__ __forceinline__ PixelRun pixel_run(int runs) {
  const int thread = static_cast<int>(threadIdx.x);
  const int pixels = kThreads / runs;
  const int pixel = thread / runs;
  return {pixel < pixels ? static_cast<int64_t>(blockIdx.x) * pixels + pixel : INT64_MAX,
          thread - pixel * runs};
}

template <typename T>
__global__ void __launch_bounds__(kThreads) gate_kernel(const __grid_constant__ Gate operation) {
  const int runs = operation.channels / kRun;
  const PixelRun at = pixel_run(runs);
  if (at.pixel >= operation.pixels) return;
  float u[kRun], v[kRun];
  load_values<T>(operation.input, 2 * at.pixel * runs + at.run, u);
  load_values<T>(operation.input, (2 * at.pixel + 1) * runs + at.run, v);
#pragma unroll
  for (int i = 0; i < kRun; ++i) u[i] *= v[i];
  store_values<T>(u, operation.output, at.pixel * runs + at.run);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gate_gradient_kernel(const __grid_constant__ GateGradient operation) {
  const int runs = operation.channels / kRun;
  const PixelRun at = pixel_run(runs);
  if (at.pixel >= operation.pixels) return;
  const int64_t first = 2 * at.pixel * runs + at.run;
  float u[kRun], v[kRun], gradient[kRun];
  load_values<T>(operation.input, first, u);
  load_values<T>(operation.input, first + runs, v);
  load_values<T>(operation.gradient, at.pixel * runs + at.run, gradient);
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    v[i] *= gradient[i];
    u[i] *= gradient[i];
  }
  store_values<T>(v, operation.output, first);
  store_values<T>(u, operation.output, first + runs);
}

// The sum over the `lanes` neighbours that hold a pixel, in all of them.
__device__ __forceinline__ float add_pixel(float value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// A thread's part of the pixels that a block looks at together: run `lane + r * lanes` of a pixel, for r
// below kRuns. All threads of a warp take part in the sums, also those that hold no run.
template <int kRuns>
struct Part {
  int64_t pixel;
  bool held[kRuns];
  int64_t run[kRuns];
};

template <int kRuns>
__device__ __forceinline__ Part<kRuns> part_of(int64_t first, int64_t end, int runs, int lanes) {
  const int thread = static_cast<int>(threadIdx.x);
  Part<kRuns> part;
  part.pixel = first + thread / lanes;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int run = thread % lanes + r * lanes;
    part.held[r] = part.pixel < end && run < runs;
    part.run[r] = part.pixel * runs + run;
  }
  return part;
}

// A vector's values for a thread's channels; 0 where it holds none.
template <typename T, int kRuns>
__device__ __forceinline__ void load_vector(const void* data, int runs, int lanes, T (&vector)[kRuns][kRun]) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int run = static_cast<int>(threadIdx.x) % lanes + r * lanes;
    if (run < runs) {
      load_run(static_cast<const T*>(data) + run * kRun, vector[r]);
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i) vector[r][i] = T{};
    }
  }
}

// Subtracts a pixel's mean from its values and divides by the standard deviation; returns 1 / sqrt(variance +
// kNormEpsilon). Runs that a thread does not hold stay 0.
template <int kRuns>
__device__ __forceinline__ float normalise(float (&values)[kRuns][kRun], const Part<kRuns>& part, float share,
                                           int lanes) {
  float sum = 0.0f;
#pragma unroll
  for (int r = 0; r < kRuns; ++r)
#pragma unroll
    for (int i = 0; i < kRun; ++i) sum += values[r][i];
  const float mean = add_pixel(sum, lanes) * share;
  float squares = 0.0f;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      values[r][i] = part.held[r] ? values[r][i] - mean : 0.0f;
      squares += values[r][i] * values[r][i];
    }
  }
  const float inverse = 1.0f / sqrtf(add_pixel(squares, lanes) * share + static_cast<float>(kNormEpsilon));
#pragma unroll
  for (int r = 0; r < kRuns; ++r)
#pragma unroll
    for (int i = 0; i < kRun; ++i) values[r][i] *= inverse;
  return inverse;
}

template <typename T, bool kBranch, bool kNorm, int kRuns>
__global__ void __launch_bounds__(kThreads, kRuns == 1 ? 3 : 2)
    residual_norm_kernel(const __grid_constant__ ResidualNorm operation, int lanes) {
  const int runs = operation.channels / kRun;
  const float share = 1.0f / static_cast<float>(operation.channels);
  T scale[kRuns][kRun], weight[kRuns][kRun], bias[kRuns][kRun];
  if (kBranch) load_vector(operation.scale, runs, lanes, scale);
  if (kNorm) {
    load_vector(operation.weight, runs, lanes, weight);
    load_vector(operation.bias, runs, lanes, bias);
  }
  const int together = kThreads / lanes;  // pixels
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * together; first < operation.pixels;
       first += static_cast<int64_t>(gridDim.x) * together) {
    const Part<kRuns> part = part_of<kRuns>(first, operation.pixels, runs, lanes);
    float values[kRuns][kRun] = {};
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      if (!part.held[r]) continue;
      load_values<T>(operation.x, part.run[r], values[r]);
      if (!kBranch) continue;
      float branch[kRun];
      load_values<T>(operation.branch, part.run[r], branch);
      T sum[kRun];
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        store(values[r][i] + branch[i] * load(scale[r][i]), sum[i]);
        values[r][i] = load(sum[i]);  // rounded, as backward reads it
      }
      store_run(sum, static_cast<T*>(operation.sum) + part.run[r] * kRun);
    }
    if (!kNorm) continue;
    normalise(values, part, share, lanes);
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      if (!part.held[r]) continue;
#pragma unroll
      for (int i = 0; i < kRun; ++i) values[r][i] = values[r][i] * load(weight[r][i]) + load(bias[r][i]);
      store_values<T>(values[r], operation.normed, part.run[r]);
    }
  }
}

// One block per part.
template <typename T, bool kBranch, bool kNorm, int kRuns>
__global__ void __launch_bounds__(kThreads, kRuns == 1 ? 2 : 1)
    residual_norm_gradient_kernel(const __grid_constant__ ResidualNormGradient operation, int lanes) {
  __shared__ float warps[kThreads / kWarp][kRuns * kWarp * kRun];
  const int channels = operation.channels;
  const int runs = channels / kRun;
  const float share = 1.0f / static_cast<float>(channels);
  T scale[kRuns][kRun], weight[kRuns][kRun];
  if (kBranch) load_vector(operation.scale, runs, lanes, scale);
  if (kNorm) load_vector(operation.weight, runs, lanes, weight);
  float sums[3][kRuns][kRun] = {};  // of the gradients of weight, bias and scale
  const int64_t number = blockIdx.x;
  const int64_t end = (number + 1) * operation.pixels / operation.partial_count;
  for (int64_t first = number * operation.pixels / operation.partial_count; first < end;
       first += kThreads / lanes) {
    const Part<kRuns> part = part_of<kRuns>(first, end, runs, lanes);
    // Issue all loads of a pixel before the first sum waits for one.
    T sum[kRuns][kRun] = {}, normed_gradient[kRuns][kRun] = {}, total[kRuns][kRun] = {},
      branch[kRuns][kRun] = {};
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      if (!part.held[r]) continue;
      if (kNorm) {
        load_elements(operation.sum, part.run[r], sum[r]);
        load_elements(operation.normed_gradient, part.run[r], normed_gradient[r]);
      }
      if (operation.sum_gradient) load_elements(operation.sum_gradient, part.run[r], total[r]);
      if (kBranch) load_elements(operation.branch, part.run[r], branch[r]);
    }
    float values[kRuns][kRun], gradients[kRuns][kRun];
    float inverse = 0.0f, mean = 0.0f, slope = 0.0f;
    if (kNorm) {
#pragma unroll
      for (int r = 0; r < kRuns; ++r)
#pragma unroll
        for (int i = 0; i < kRun; ++i) values[r][i] = load(sum[r][i]);
      inverse = normalise(values, part, share, lanes);
#pragma unroll
      for (int r = 0; r < kRuns; ++r) {
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          const float gradient = load(normed_gradient[r][i]);
          sums[0][r][i] += gradient * values[r][i];
          sums[1][r][i] += gradient;
          gradients[r][i] = gradient * load(weight[r][i]);
          mean += gradients[r][i];
          slope += gradients[r][i] * values[r][i];
        }
      }
      mean = add_pixel(mean, lanes) * share;
      slope = add_pixel(slope, lanes) * share;
    }
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      if (!part.held[r]) continue;
      float of_sum[kRun], of_branch[kRun];
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        of_sum[i] = load(total[r][i]);
        if (kNorm) of_sum[i] += (gradients[r][i] - mean - values[r][i] * slope) * inverse;
        if (!kBranch) continue;
        sums[2][r][i] += of_sum[i] * load(branch[r][i]);
        of_branch[i] = of_sum[i] * load(scale[r][i]);
      }
      if (kNorm) store_values<T>(of_sum, operation.x_gradient, part.run[r]);
      if (kBranch) store_values<T>(of_branch, operation.branch_gradient, part.run[r]);
    }
  }

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
#pragma unroll
  for (int quantity = 0; quantity < 3; ++quantity) {
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        float sum = sums[quantity][r][i];  // over the pixels that a warp holds side by side
        for (int distance = lanes; distance < kWarp; distance *= 2)
          sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (lane < lanes) warps[thread / kWarp][(lane + r * lanes) * kRun + i] = sum;
      }
    }
    __syncthreads();
    for (int c = thread; c < channels; c += kThreads) {
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += warps[warp][c];
      operation.partial[(number * 3 + quantity) * channels + c] = sum;
    }
    __syncthreads();
  }
}

// Adds the parts up, in an order that depends on their number alone.
__global__ void __launch_bounds__(kThreads)
    join_parts_kernel(const __grid_constant__ ResidualNormGradient operation) {
  constexpr int kRows = kThreads / kColumns;
  __shared__ float rows[kRows][kColumns];
  const int thread = static_cast<int>(threadIdx.x);
  const int numbers = 3 * operation.channels;
  const int column = static_cast<int>(blockIdx.x) * kColumns + thread % kColumns;
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t part = thread / kColumns; part < operation.partial_count; part += kRows)
    sum += operation.partial[part * numbers + column];
  rows[thread / kColumns][thread % kColumns] = sum;
  __syncthreads();
  if (thread >= kColumns) return;
  for (int row = 1; row < kRows; ++row) sum += rows[row][thread];
  operation.output[column] = sum;
}

// A power of two, so that a warp holds whole pixels.
int lanes_of(int runs) {
  int lanes = 2;
  while (lanes < runs && lanes < kWarp) lanes *= 2;
  return lanes;
}

int64_t whole_pixel_blocks(int64_t pixels, int channels) {
  const int together = kThreads / (channels / kRun);
  return (pixels + together - 1) / together;
}

void need_width(int channels) {
  if (channels > kWidestBlockOnGpu) raise_too_wide(channels);
}

template <typename T, int kRuns>
auto pick_kernel(const ResidualNorm& operation) {
  return !operation.weight  ? residual_norm_kernel<T, true, false, kRuns>
         : operation.branch ? residual_norm_kernel<T, true, true, kRuns>
                            : residual_norm_kernel<T, false, true, kRuns>;
}

template <typename T, int kRuns>
auto pick_kernel(const ResidualNormGradient& operation) {
  return !operation.weight  ? residual_norm_gradient_kernel<T, true, false, kRuns>
         : operation.branch ? residual_norm_gradient_kernel<T, true, true, kRuns>
                            : residual_norm_gradient_kernel<T, false, true, kRuns>;
}

template <typename Operation>
auto pick_kernel(const Operation& operation) {
  const bool wide = operation.channels > kWarp * kRun;
  return operation.dtype == DType::kBFloat16
             ? (wide ? pick_kernel<BFloat, 2>(operation) : pick_kernel<BFloat, 1>(operation))
             : (wide ? pick_kernel<float, 2>(operation) : pick_kernel<float, 1>(operation));
}

}  // namespace

void run_on_cuda(const Gate& operation, int device, uintptr_t stream) {
  need_width(operation.channels);
  const auto kernel = operation.dtype == DType::kBFloat16 ? gate_kernel<BFloat> : gate_kernel<float>;
  launch("gate", kernel, whole_pixel_blocks(operation.pixels, operation.channels), kThreads, device, stream,
         operation);
}

void run_on_cuda(const GateGradient& operation, int device, uintptr_t stream) {
  need_width(operation.channels);
  const auto kernel =
      operation.dtype == DType::kBFloat16 ? gate_gradient_kernel<BFloat> : gate_gradient_kernel<float>;
  launch("gate_gradient", kernel, whole_pixel_blocks(operation.pixels, operation.channels), kThreads, device,
         stream, operation);
}

void run_on_cuda(const ResidualNorm& operation, int device, uintptr_t stream) {
  need_width(operation.channels);
  const int lanes = lanes_of(operation.channels / kRun);
  const int together = kThreads / lanes;
  const int64_t blocks = least<int64_t>((operation.pixels + together - 1) / together, kMostBlocks);
  launch("residual_norm", pick_kernel(operation), blocks, kThreads, device, stream, operation, lanes);
}

void run_on_cuda(const ResidualNormGradient& operation, int device, uintptr_t stream) {
  need_width(operation.channels);
  const int lanes = lanes_of(operation.channels / kRun);
  launch("residual_norm_gradient", pick_kernel(operation), operation.partial_count, kThreads, device, stream,
         operation, lanes);
  launch("residual_norm_gradient", join_parts_kernel, 3 * operation.channels / kColumns, kThreads, device,
         stream, operation);
}

}  // namespace copycat
