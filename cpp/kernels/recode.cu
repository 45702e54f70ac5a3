// Applies an encoding or its inverse to whole pictures on the GPU.
#include "recode_rows.cuh"

namespace copycat {
namespace {

constexpr int kRows = 32;  // of one picture, per block

struct Division {
  int tiles;  // of rows, per picture
  int spans;  // per row, one per block
};

// Where the results of a column of runs go: to where a picture's pixels lie.
struct IntoPicture {
  float* first;
  int64_t down, next_channel, next_pixel;
  int channel, channels;
  uint32_t mattes;

  __device__ __forceinline__ void put(const float (&out)[kRun], int y, int count) const {
    float* to = first + y * down;
    int c = channel;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      if (i < count) *to = mattes >> c & 1u ? matte(out[i]) : out[i];
      ++c;
      to += c == channels ? next_pixel : next_channel;
      c = c == channels ? 0 : c;
    }
  }
};

struct ToPicture {
  const Recode& operation;
  int64_t number;

  __device__ __forceinline__ IntoPicture column(const Rows&, int, int pixel, int channel) const {
    const Pixels& to = operation.picture;
    float* first = static_cast<float*>(to.data) + number * to.count_stride + pixel * to.pixel_stride +
                   channel * to.channel_stride;
    return {
        first,   to.row_stride, to.channel_stride, to.pixel_stride - (to.channels - 1) * to.channel_stride,
        channel, to.channels,   operation.mattes};
  }
};

template <typename Out, bool kLog, bool kInverse, bool kPicture>
__global__ void __launch_bounds__(kThreads, kLog || kPicture ? (kInverse ? 2 : 3) : 4)
    recode_kernel(const __grid_constant__ Recode operation, Division division) {
  __shared__ SharedEncoding encoding;
  __shared__ Rows rows;  // kept out of the registers, which the pixels need
  const Pixels& source = operation.source;
  if (threadIdx.x < kWarp) {
    fill(encoding, operation.encoding, source.channels, kInverse);
  } else if (threadIdx.x == kWarp) {
    const int span = static_cast<int>(blockIdx.x % static_cast<unsigned>(division.spans));
    const unsigned tile_of_all = blockIdx.x / static_cast<unsigned>(division.spans);
    const int tile = static_cast<int>(tile_of_all % static_cast<unsigned>(division.tiles));
    const int64_t picture = tile_of_all / static_cast<unsigned>(division.tiles);
    const int height = static_cast<int>(source.height);
    rows.source =
        static_cast<const char*>(source.data) + picture * source.count_stride * size_of(source.dtype);
    rows.down = source.row_stride;
    rows.right = source.pixel_stride;
    rows.channel_stride = source.channel_stride;
    rows.channels = source.channels;
    rows.length = static_cast<int>(source.width) * source.channels;
    rows.output = static_cast<Out*>(operation.output) + picture * height * rows.length;
    rows.first_row = tile * kRows;
    rows.end_row = least(height, rows.first_row + kRows);
    rows.first_span = span;
    rows.end_span = span + 1;
  }
  __syncthreads();
  if constexpr (kPicture) {
    const int64_t number = blockIdx.x / static_cast<unsigned>(division.spans * division.tiles);
    recode_rows<Out, kLog, kInverse>(source.dtype, rows, encoding, NoGrading{}, ToPicture{operation, number});
  } else {
    recode_rows<Out, kLog, kInverse>(source.dtype, rows, encoding, NoGrading{});
  }
}

template <typename Out>
auto pick_kernel(bool log, bool inverse) {
  return log ? (inverse ? recode_kernel<Out, true, true, false> : recode_kernel<Out, true, false, false>)
             : (inverse ? recode_kernel<Out, false, true, false> : recode_kernel<Out, false, false, false>);
}

}  // namespace

void run_on_cuda(const Recode& operation, int device, uintptr_t stream) {
  const Pixels& source = operation.source;
  const Division division{static_cast<int>((source.height + kRows - 1) / kRows),
                          static_cast<int>(spans(source.width * source.channels))};
  const int64_t blocks = source.count * division.tiles * division.spans;
  const bool log = any_log(operation.encoding, source.channels);
  const DType type = operation.output_dtype;
  const auto into_picture =
      log ? recode_kernel<float, true, true, true> : recode_kernel<float, false, true, true>;
  const auto kernel = operation.picture.data    ? into_picture
                      : type == DType::kFloat32 ? pick_kernel<float>(log, operation.inverse)
                      : type == DType::kFloat16 ? pick_kernel<Half>(log, operation.inverse)
                                                : pick_kernel<BFloat>(log, operation.inverse);
  launch(operation.inverse ? "denormalize" : "normalize", kernel, blocks, kThreads, device, stream, operation,
         division);
}

}  // namespace copycat
