// Runs every operation on the CPU: rows of pixels over threads.
#include <cstdlib>
#include <string_view>
#include <type_traits>
#include <vector>

#include "processor.h"
#include "rows.h"
#include "threads.h"

namespace copycat {
namespace {

// Work below this many elements is not worth waking another thread for.
constexpr int64_t kGrainElements = 1 << 14;

int64_t rows_per_range(int64_t elements_per_row) {
  return kGrainElements / most<int64_t>(elements_per_row, 1) + 1;
}

template <typename T>
T* offset(T* data, DType type, int64_t elements) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return static_cast<Byte*>(data) + elements * size_of(type);
}

const RowKernels& choose_row_kernels() {
#if defined(COPYCAT_X86)
  const char* variable = std::getenv("COPYCAT_ISA");
  const std::string_view limit = variable ? variable : "";
  if (limit == "baseline" || !processor().avx2) return kRowsBaseline;
  if (limit == "avx2" || !processor().avx512) return kRowsAvx2;
  return kRowsAvx512;
#else
  return kRowsBaseline;
#endif
}

// Fetches a row that will be read next: rows of a crop lie in pages of their own, where no processor looks
// ahead.
void prefetch(const void* row, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(row) + at);
}

// Moves a row of results to where a picture's pixels lie.
void put(const float* line, const Recode& operation, int64_t row) {
  const Pixels& picture = operation.picture;
  float* to = static_cast<float*>(picture.data) + row / picture.height * picture.count_stride +
              row % picture.height * picture.row_stride;
  for (int64_t x = 0; x < picture.width; ++x, to += picture.pixel_stride) {
    for (int32_t c = 0; c < picture.channels; ++c, ++line)
      to[c * picture.channel_stride] = operation.mattes >> c & 1u ? matte(*line) : *line;
  }
}

}  // namespace

const RowKernels& row_kernels() {
  static const RowKernels& chosen = choose_row_kernels();
  return chosen;
}

BlockEncoding expand(const Encoding& encoding, int channels, bool inverse) {
  BlockEncoding block;
  block.channels = channels;
  block.length = block_length(channels, kBlock);
  block.any_log = false;
  block.inverse = inverse;
  for (int i = 0; i < block.length; ++i) {
    const int c = i % channels;
    const float scale = encoding.log_scale[c];
    block.any_log = block.any_log || scale > 0.0f;
    block.scale[i] = scale;
    block.inverse_scale[i] = scale > 0.0f ? 1.0f / scale : 0.0f;
    block.offset[i] = encoding.mean[c];
    block.multiply[i] = inverse ? encoding.std[c] : 1.0f / encoding.std[c];
  }
  return block;
}

void run_on_cpu(const SampleCrops& operation, int threads) {
  const RowKernels& rows = row_kernels();
  const CropRule& rule = operation.rule;
  BlockEncoding encodings[3];
  int64_t elements = 0;
  for (int p = 0; p < operation.plane_count; ++p) {
    const CropPlane& plane = operation.planes[p];
    encodings[p] = expand(plane.encoding, plane.source.channels, false);
    elements += static_cast<int64_t>(rule.width) * plane.source.channels;
  }
  const bool may_grade = any_grade(operation);
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end;) {
      const int64_t sample = index / rule.height;
      const Placement at = draw_placement(rule, sample);
      const Grade grade = may_grade ? draw_grade(rule, sample) : Grade{1.0f, 1.0f, 1.0f};
      const int64_t last = least(end, (sample + 1) * rule.height);
      for (int p = 0; p < operation.plane_count; ++p) {
        const CropPlane& plane = operation.planes[p];
        const Pixels& source = plane.source;
        const Walk way = walk(rule, at, source.row_stride, source.pixel_stride);
        const void* frame =
            offset<const void>(source.data, source.dtype, at.frame * source.count_stride + way.start);
        const auto in = static_cast<int>(source.dtype), out = static_cast<int>(plane.output_dtype);
        const bool is_graded = plane.layers.count > 0 && !changes_nothing(grade);
        // Where a row of the crop is one of the frame, and the first of its bytes in memory.
        const bool in_order = (way.right < 0 ? -way.right : way.right) == source.pixel_stride;
        const int64_t leftmost = way.right < 0 ? (rule.width - 1) * way.right : 0;
        const int64_t bytes = rule.width * source.pixel_stride * size_of(source.dtype);
        for (int64_t i = index; i < last; ++i) {
          const int64_t y = i - sample * rule.height;
          if (in_order && i + 1 < last)
            prefetch(offset(frame, source.dtype, (y + 1) * way.down + leftmost), bytes);
          const Row row{offset(frame, source.dtype, y * way.down), rule.width, source.channels, way.right,
                        source.channel_stride};
          void* output = offset(plane.output, plane.output_dtype, i * rule.width * source.channels);
          if (is_graded) {
            rows.grade[in][out](row, grade, plane.layers, encodings[p], output);
          } else {
            rows.recode[in][out](row, encodings[p], output);
          }
        }
      }
      index = last;
    }
  };
  spread(operation.batch * rule.height, rows_per_range(elements), threads, work);
}

void run_on_cpu(const CropPositions& operation, int) {
  for (int64_t i = 0; i < operation.batch; ++i)
    write_placement(draw_placement(operation.rule, i), operation.output + 5 * i);
}

void run_on_cpu(const Downsize& operation, int threads) {
  const Pixels& source = operation.source;
  const int factor = operation.factor;
  const int64_t height = (source.height + factor - 1) / factor;
  const int64_t width = (source.width + factor - 1) / factor;
  const auto downsize = row_kernels().downsize[static_cast<int>(source.dtype)];
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t y = i % height * factor;
      const int64_t first = i / height * source.count_stride + y * source.row_stride;
      const int lines = static_cast<int>(least<int64_t>(factor, source.height - y));
      downsize({offset<const void>(source.data, source.dtype, first), source.width, source.channels,
                source.pixel_stride, source.channel_stride},
               lines, source.row_stride, factor,
               offset(operation.output, source.dtype, i * width * source.channels));
    }
  };
  spread(source.count * height, rows_per_range(source.width * source.channels * factor), threads, work);
}

void run_on_cpu(const Recode& operation, int threads) {
  const Pixels& source = operation.source;
  const BlockEncoding encoding = expand(operation.encoding, source.channels, operation.inverse);
  const auto recode =
      row_kernels().recode[static_cast<int>(source.dtype)][static_cast<int>(operation.output_dtype)];
  const int64_t elements = source.width * source.channels;
  const bool in_picture = operation.picture.data != nullptr;
  const auto work = [&](int64_t begin, int64_t end) {
    std::vector<float> line(static_cast<size_t>(in_picture ? elements : 0));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / source.height * source.count_stride + i % source.height * source.row_stride;
      recode({offset<const void>(source.data, source.dtype, first), source.width, source.channels,
              source.pixel_stride, source.channel_stride},
             encoding,
             in_picture ? line.data() : offset(operation.output, operation.output_dtype, i * elements));
      if (in_picture) put(line.data(), operation, i);
    }
  };
  spread(source.count * source.height, rows_per_range(elements), threads, work);
}

void run_on_cpu(const Statistics& operation, int threads) {
  const Pixels& source = operation.source;
  const int channels = source.channels;
  const int64_t rows = source.count * source.height;
  const int64_t parts = operation.partial_count;
  const auto moments = row_kernels().moments[static_cast<int>(source.dtype)];
  // Which rows a part holds does not depend on the threads, and so neither do the last bits of the result.
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      Moments* into = operation.partial + part * channels;
      for (int c = 0; c < channels; ++c) into[c] = no_moments();
      for (int64_t row = part * rows / parts; row < (part + 1) * rows / parts; ++row) {
        const int32_t* valid = operation.valid + row / source.height * 4;
        const int64_t y = row % source.height;
        if (y < valid[1] || y >= valid[3] || valid[0] >= valid[2]) continue;
        const int64_t first = row / source.height * source.count_stride + y * source.row_stride +
                              valid[0] * source.pixel_stride;
        moments({offset<const void>(source.data, source.dtype, first), valid[2] - valid[0], channels,
                 source.pixel_stride, source.channel_stride},
                into);
      }
    }
  };
  spread(parts, 1, threads, work);
  for (int c = 0; c < channels; ++c) {
    operation.output[c] = no_moments();
    for (int64_t part = 0; part < parts; ++part)
      join(operation.output[c], operation.partial[part * channels + c]);
  }
}

}  // namespace copycat
