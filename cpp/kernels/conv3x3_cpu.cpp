// Runs the operations of conv3x3.h on the CPU: patches and channels over threads.
#include <utility>
#include <vector>

#include "conv3x3.h"
#include "processor.h"
#include "scratch.h"
#include "threads.h"
#include "vector_kernels.h"

namespace copycat {
namespace {

constexpr int64_t kPartsBytes = 3 << 19;  // of transformed patches: what about stays in a second cache

void convolve(const Convolution& conv, const Conv3x3Kernels& loops, int threads) {
  const int group = loops.group(conv.channels_out);
  const int64_t per_channel = kFrequencies * conv.channels_in * size_of(conv.dtype);
  const Memory transformed = allocate(per_channel * conv.channels_out);
  spread(conv.channels_out / group, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      void* to = static_cast<char*>(transformed.get()) + i * group * per_channel;
      loops.transform_weights(conv, static_cast<int>(i) * group, to);
    }
  });
  // Every thread gets some, even of a small picture.
  int64_t length = kPatches;
  while (length > kPatches / 4 && conv.patches() / length < 2 * threads) length /= 2;
  const int64_t chunks = (conv.patches() + length - 1) / length;
  ScratchPool pool(static_cast<int>(threads < chunks ? threads : chunks), loops.patches_scratch_bytes(conv));
  spread(chunks, 1, threads, [&](int64_t begin, int64_t end) {
    Memory scratch = pool.take();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t last = (i + 1) * length < conv.patches() ? (i + 1) * length : conv.patches();
      loops.convolve(conv, transformed.get(), i * length, last, scratch.get());
    }
    pool.give(std::move(scratch));
  });
}

// Parts of a weight's gradient that are transformed before they are multiplied: few enough to stay in a
// cache, many enough that reading and writing the sums costs less than the parts do.
int64_t parts_together(int64_t parts, int64_t in, int64_t out, int64_t element_size) {
  const int64_t in_cache = kPartsBytes / (kFrequencies * element_size * (in + out) * kPart);
  const int64_t worth_it = 2 * in * out / (in + out) / kPart;
  const int64_t best = in_cache > worth_it ? in_cache : worth_it;
  return best < parts ? best : parts;
}

}  // namespace

bool conv3x3_is_fast(DType dtype) {
  // Where the processor has matrix units, torch's convolutions use them.
  if (dtype == DType::kBFloat16 && processor().matrices_of_bfloat16) return false;
  return find_vector_kernels(dtype) != nullptr;
}

void run_with(const Conv3x3Kernels& loops, const Conv3x3Forward& operation, int threads) {
  convolve({operation, false, operation.input, operation.weight, operation.bias, operation.output}, loops,
           threads);
}

void run_with(const Conv3x3Kernels& loops, const Conv3x3InputGradient& operation, int threads) {
  Conv3x3 back = operation;
  std::swap(back.channels_in, back.channels_out);
  convolve({back, true, operation.gradient, operation.weight, nullptr, operation.output}, loops, threads);
}

void run_with(const Conv3x3Kernels& loops, const Conv3x3WeightGradient& operation, int threads) {
  const int64_t in = operation.channels_in, out = operation.channels_out;
  const int64_t parts = (operation.patches() + kPart - 1) / kPart;
  const int64_t most = parts_together(parts, in, out, size_of(operation.dtype));
  const int64_t input_bytes = loops.part_scratch_bytes(operation.channels_in);
  const int64_t gradient_bytes = loops.part_scratch_bytes(operation.channels_out);
  const Memory inputs = allocate(most * input_bytes), gradients = allocate(most * gradient_bytes);
  // When all parts are multiplied at once, each thread's sums are finished while they are in its cache.
  const int64_t sums_of_rows = kFrequencies * kRowsTogether * in;
  const Memory sums = allocate(out / kRowsTogether * sums_of_rows * static_cast<int64_t>(sizeof(float)));
  std::vector<float> bias(static_cast<size_t>(out)), partial(static_cast<size_t>(out * most));
  for (int64_t first = 0; first < parts; first += most) {
    const int64_t count = parts - first < most ? parts - first : most;
    spread(count, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        loops.transform_part(
            operation, (first + i) * kPart, static_cast<char*>(inputs.get()) + i * input_bytes,
            static_cast<char*>(gradients.get()) + i * gradient_bytes, partial.data() + i * out);
    });
    for (int64_t i = 0; i < count * out; ++i)
      bias[static_cast<size_t>(i % out)] += partial[static_cast<size_t>(i)];
    spread(out / kRowsTogether, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* to = static_cast<float*>(sums.get()) + i * sums_of_rows;
        const int row = static_cast<int>(i) * kRowsTogether;
        loops.accumulate(operation, count, inputs.get(), gradients.get(), row, first > 0, to);
        if (first + count == parts) loops.finish_weights(operation, to, row);
      }
    });
  }
  if (parts == 0)  // of an empty batch: the sum of nothing
    memset(operation.weight_gradient, 0, static_cast<size_t>(9 * in * out * size_of(operation.dtype)));
  loops.store_bias(operation, bias.data());
}

void run_on_cpu(const Conv3x3Forward& operation, int threads) {
  run_with(vector_kernels(operation.dtype).conv3x3, operation, threads);
}

void run_on_cpu(const Conv3x3InputGradient& operation, int threads) {
  run_with(vector_kernels(operation.dtype).conv3x3, operation, threads);
}

void run_on_cpu(const Conv3x3WeightGradient& operation, int threads) {
  run_with(vector_kernels(operation.dtype).conv3x3, operation, threads);
}

}  // namespace copycat
