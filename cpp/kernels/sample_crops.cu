// Cuts the crops of a step on the GPU: input, target and mask in one launch.
#include <type_traits>

#include "recode_rows.cuh"

namespace copycat {
namespace {

// How the crops are divided among blocks: every block takes `rows` rows of one sample, all planes.
struct Division {
  int rows;
  int tiles;  // per sample
};

// The rows of a plane that a block cuts.
__device__ __forceinline__ Rows crop_rows(const SampleCrops& operation, int p, const Placement& at,
                                          int64_t sample, int first_row, int end_row) {
  const CropPlane& plane = operation.planes[p];
  const Pixels& source = plane.source;
  const Walk way = walk(operation.rule, at, source.row_stride, source.pixel_stride);
  const int length = operation.rule.width * source.channels;
  Rows rows;
  rows.source = static_cast<const char*>(source.data) +
                (at.frame * source.count_stride + way.start) * size_of(source.dtype);
  rows.down = way.down;
  rows.right = way.right;
  rows.channel_stride = source.channel_stride;
  rows.output = static_cast<char*>(plane.output) +
                sample * operation.rule.height * length * size_of(plane.output_dtype);
  rows.channels = source.channels;
  rows.length = length;
  rows.first_row = first_row;
  rows.end_row = end_row;
  rows.first_span = 0;
  rows.end_span = (length + kSpan - 1) / kSpan;
  return rows;
}

// A sample's grade, and the layers of a plane's channels, in shared memory.
struct Grading {
  Grade grade;
  float pivots[kMostChannels];
  int8_t layers[kMostChannels][3];  // of a channel: its layer's red, green and blue, or -1

  // Called by one warp; the block must be synchronised before use.
  __device__ __forceinline__ void fill(const CropPlane& plane) {
    const int c = static_cast<int>(threadIdx.x) % kWarp;
    pivots[c] = pivot(plane.encoding.log_scale[c]);
    layers[c][0] = -1;
    for (int l = 0; l < plane.layers.count; ++l) {
      const auto& layer = plane.layers.channels[l];
      if (c != layer[0] && c != layer[1] && c != layer[2]) continue;
      for (int k = 0; k < 3; ++k) layers[c][k] = layer[k];
    }
  }

  // The first `count` values, which begin at a channel of a pixel. A luminance needs colours that other
  // threads hold: these are read once more, from the nearest cache.
  template <typename In>
  __device__ __forceinline__ void apply(const Rows& rows, const In* pixel, int channel, int count,
                                        float (&values)[kRun]) const {
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const auto& layer = layers[channel];
      if (i < count && layer[0] >= 0) {
        values[i] = graded(values[i], grade, pivots[channel]);
        if (grade.saturation != 1.0f) {
          const auto colour = [&](int c) {
            return graded(load(pixel[c * rows.channel_stride]), grade, pivots[c]);
          };
          const float grey = luminance(colour(layer[0]), colour(layer[1]), colour(layer[2]));
          values[i] = saturated(values[i], grey, grade.saturation);
        }
      }
      ++channel;
      pixel += channel == rows.channels ? rows.right : 0;
      channel = channel == rows.channels ? 0 : channel;
    }
  }
};

template <typename Out, bool kLog, bool kGraded>
__global__ void __launch_bounds__(kThreads, kGraded ? 2
                                            : kLog  ? 3
                                                    : 4)
    sample_crops_kernel(const __grid_constant__ SampleCrops operation, Division division) {
  __shared__ SharedEncoding encodings[3];
  __shared__ Rows rows[3];  // kept out of the registers, which the pixels need
  __shared__ std::conditional_t<kGraded, Grading, NoGrading> gradings[3];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp < operation.plane_count) {
    if constexpr (kGraded) gradings[warp].fill(operation.planes[warp]);
    fill(encodings[warp], operation.planes[warp].encoding, operation.planes[warp].source.channels, false);
  } else if (threadIdx.x == 3 * kWarp) {
    const int64_t sample = blockIdx.x / static_cast<unsigned>(division.tiles);
    const int first_row =
        static_cast<int>(blockIdx.x % static_cast<unsigned>(division.tiles)) * division.rows;
    const int end_row = least(operation.rule.height, first_row + division.rows);
    const Placement at = draw_placement(operation.rule, sample);
    for (int p = 0; p < operation.plane_count; ++p) {
      rows[p] = crop_rows(operation, p, at, sample, first_row, end_row);
    }
  }
  if constexpr (kGraded) {
    if (threadIdx.x == 4 * kWarp) {
      const Grade grade = draw_grade(operation.rule, blockIdx.x / static_cast<unsigned>(division.tiles));
      for (int p = 0; p < operation.plane_count; ++p) gradings[p].grade = grade;
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int p = 0; p < operation.plane_count; ++p) {
    recode_rows<Out, kLog, false>(operation.planes[p].source.dtype, rows[p], encodings[p], gradings[p]);
  }
}

template <typename Out>
auto pick_kernel(bool log, bool graded) {
  return log ? (graded ? sample_crops_kernel<Out, true, true> : sample_crops_kernel<Out, true, false>)
             : (graded ? sample_crops_kernel<Out, false, true> : sample_crops_kernel<Out, false, false>);
}

__global__ void crop_positions_kernel(const __grid_constant__ CropPositions operation) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < operation.batch) write_placement(draw_placement(operation.rule, i), operation.output + 5 * i);
}

}  // namespace

void run_on_cuda(const SampleCrops& operation, int device, uintptr_t stream) {
  // Few rows per block keep a small batch on all multiprocessors; many spread the cost of placing the crop.
  Division division{32, 0};
  while (division.rows > kRowWarps &&
         operation.batch * ((operation.rule.height + division.rows - 1) / division.rows) < 2048) {
    division.rows /= 2;
  }
  division.tiles = (operation.rule.height + division.rows - 1) / division.rows;
  const int64_t blocks = operation.batch * division.tiles;
  bool log = false;
  for (int p = 0; p < operation.plane_count; ++p) {
    log = log || any_log(operation.planes[p].encoding, operation.planes[p].source.channels);
  }
  const bool graded = any_grade(operation);
  const DType type = operation.planes[0].output_dtype;
  const auto kernel = type == DType::kFloat32   ? pick_kernel<float>(log, graded)
                      : type == DType::kFloat16 ? pick_kernel<Half>(log, graded)
                                                : pick_kernel<BFloat>(log, graded);
  launch("sample_crops", kernel, blocks, kThreads, device, stream, operation, division);
}

void run_on_cuda(const CropPositions& operation, int device, uintptr_t stream) {
  launch("crop_positions", crop_positions_kernel, (operation.batch + kThreads - 1) / kThreads, kThreads,
         device, stream, operation);
}

}  // namespace copycat
