// Area averages on the GPU: column sums go through shared memory, so that reads and writes stay in order.
#include "launch.cuh"
#include "vectors.cuh"

namespace copycat {
namespace {

constexpr int kSegment = kThreads * kRun;  // source elements of a row that a block handles

struct Division {
  int64_t height, width;  // of the output
  int pixels;             // of an output row, per block
  int segments;           // per output row
};

// kChannels 0: any number.
template <typename In, int kFactor, int kChannels>
__global__ void __launch_bounds__(kThreads)
    downsize_kernel(const __grid_constant__ Downsize operation, Division division) {
  __shared__ __align__(16) float sums[kSegment];
  const Pixels& source = operation.source;
  const int channels = kChannels ? kChannels : source.channels;
  const int segment = static_cast<int>(blockIdx.x % static_cast<unsigned>(division.segments));
  const int64_t row = blockIdx.x / static_cast<unsigned>(division.segments);
  const int64_t y = row % division.height * kFactor;
  const int64_t first_out = static_cast<int64_t>(segment) * division.pixels;
  const int outputs = static_cast<int>(least<int64_t>(division.pixels, division.width - first_out));
  const int pixels = static_cast<int>(least<int64_t>(outputs * kFactor, source.width - first_out * kFactor));
  const int lines = static_cast<int>(least<int64_t>(kFactor, source.height - y));
  const In* first = static_cast<const In*>(source.data) + row / division.height * source.count_stride +
                    y * source.row_stride + first_out * kFactor * source.pixel_stride;

  const int at = static_cast<int>(threadIdx.x) * kRun;
  const int count = least(kRun, pixels * channels - at);
  const bool dense = source.channel_stride == 1 && source.pixel_stride == channels;
  float sum[kRun] = {};
  if (dense && count == kRun) {
#pragma unroll
    for (int line = 0; line < kFactor; ++line) {
      if (line < lines) {
        In in[kRun];
        load_run(first + line * source.row_stride + at, in);
#pragma unroll
        for (int i = 0; i < kRun; ++i) sum[i] += load_stored(in[i]);
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      if (i < count) {
        const int pixel = (at + i) / channels;
        const In* column =
            first + pixel * source.pixel_stride + (at + i - pixel * channels) * source.channel_stride;
        for (int line = 0; line < lines; ++line) sum[i] += load_stored(column[line * source.row_stride]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRun; i += 4) {
    *reinterpret_cast<float4*>(sums + at + i) = make_float4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]);
  }
  __syncthreads();

  In* output = static_cast<In*>(operation.output) + (row * division.width + first_out) * channels;
  for (int e = static_cast<int>(threadIdx.x); e < outputs * channels; e += kThreads) {
    const int pixel = e / channels;
    const float* cells = sums + pixel * kFactor * channels + (e - pixel * channels);
    const int columns = least(kFactor, pixels - pixel * kFactor);
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kFactor; ++i) {
      if (i < columns) total += cells[i * channels];
    }
    store_stored(total * (1.0f / static_cast<float>(lines * columns)), output[e]);
  }
}

template <typename In, int kFactor>
void launch_downsize(const Downsize& operation, int device, uintptr_t stream) {
  const Pixels& source = operation.source;
  Division division;
  division.height = (source.height + kFactor - 1) / kFactor;
  division.width = (source.width + kFactor - 1) / kFactor;
  division.pixels = kSegment / (kFactor * source.channels);
  division.segments = static_cast<int>((division.width + division.pixels - 1) / division.pixels);
  const int64_t blocks = source.count * division.height * division.segments;
  const auto kernel =
      source.channels == 3 ? downsize_kernel<In, kFactor, 3> : downsize_kernel<In, kFactor, 0>;
  launch("downsize", kernel, blocks, kThreads, device, stream, operation, division);
}

template <typename In>
void launch_downsize(const Downsize& operation, int device, uintptr_t stream) {
  if (operation.factor == 2) {
    launch_downsize<In, 2>(operation, device, stream);
  } else {
    launch_downsize<In, 4>(operation, device, stream);
  }
}

}  // namespace

void run_on_cuda(const Downsize& operation, int device, uintptr_t stream) {
  switch (operation.source.dtype) {
    case DType::kFloat32:
      return launch_downsize<float>(operation, device, stream);
    case DType::kFloat16:
      return launch_downsize<Half>(operation, device, stream);
    case DType::kBFloat16:
      return launch_downsize<BFloat>(operation, device, stream);
    case DType::kUInt8:
      return launch_downsize<uint8_t>(operation, device, stream);
  }
}

}  // namespace copycat
