// Whole gated blocks and enlargements against their definitions in double, on any number of threads, in
// parts of a picture, and with every instruction set that this processor has.
#include <cmath>
#include <vector>

#include "all_vector_kernels.h"
#include "check.h"
#include "numbers.h"

using namespace copycat;

namespace {

struct Shape {
  int32_t batch, height, width, channels;
};

// No picture, no pixel, one pixel, odd sides, several tiles, every number of vectors in registers.
const Shape kShapes[] = {{0, 3, 5, 32},   {2, 0, 5, 16}, {1, 1, 1, 16}, {2, 3, 5, 32}, {1, 51, 35, 16},
                         {1, 27, 33, 48}, {2, 9, 7, 64}, {1, 6, 5, 96}, {1, 4, 3, 112}};

// A half's arguments; weights as large as a trained network's.
struct Half {
  int taps;
  Numbers norm_weight, norm_bias, inner_weight, inner_bias, outer_weight, outer_bias, scale;

  Half(DType dtype, int64_t channels, int window, uint32_t seed)
      : taps(window),
        norm_weight(Numbers::noise(dtype, channels, seed)),
        norm_bias(Numbers::noise(dtype, channels, seed + 1)),
        inner_weight(Numbers::noise(dtype, 2 * channels * window * channels, seed + 2)),
        inner_bias(Numbers::noise(dtype, 2 * channels, seed + 3)),
        outer_weight(Numbers::noise(dtype, channels * channels, seed + 4)),
        outer_bias(Numbers::noise(dtype, channels, seed + 5)),
        scale(Numbers::noise(dtype, channels, seed + 6)) {}

  BlockHalf arguments() {
    return {norm_weight.data(),  norm_bias.data(),  inner_weight.data(), inner_bias.data(),
            outer_weight.data(), outer_bias.data(), scale.data()};
  }
};

struct Case {
  Shape shape;
  DType dtype;
  Half spatial, pointwise;
  Numbers x, output;

  Case(const Shape& of, DType type)
      : shape(of),
        dtype(type),
        spatial(type, of.channels, 9, 1),
        pointwise(type, of.channels, 1, 11),
        x(Numbers::noise(type, count(), 21)),
        output(type, count()) {}

  int64_t count() const {
    return static_cast<int64_t>(shape.batch) * shape.height * shape.width * shape.channels;
  }

  WholeBlock operation() {
    return {shape.batch,         shape.height,          shape.width, shape.channels, dtype,
            spatial.arguments(), pointwise.arguments(), x.data(),    output.data()};
  }
};

using Values = std::vector<double>;

Values values_of(const Numbers& numbers, int64_t count) {
  Values values;
  for (int64_t i = 0; i < count; ++i) values.push_back(numbers[i]);
  return values;
}

// x + scale * outer(gate(inner(norm(x)))).
Values half_of(const Shape& shape, const Half& half, const Values& x) {
  const int channels = shape.channels, reach = half.taps == 9 ? 1 : 0;
  const int64_t pixels = static_cast<int64_t>(x.size()) / channels;
  Values normed(x.size()), result(x);
  const auto at = [&](int64_t pixel, int c) { return static_cast<size_t>(pixel * channels + c); };
  for (int64_t p = 0; p < pixels; ++p) {
    double mean = 0, variance = 0;
    for (int c = 0; c < channels; ++c) mean += x[at(p, c)] / channels;
    for (int c = 0; c < channels; ++c) variance += (x[at(p, c)] - mean) * (x[at(p, c)] - mean) / channels;
    for (int c = 0; c < channels; ++c)
      normed[at(p, c)] =
          (x[at(p, c)] - mean) / std::sqrt(variance + kNormEpsilon) * half.norm_weight[c] + half.norm_bias[c];
  }
  for (int64_t p = 0; p < pixels; ++p) {
    const int64_t column = p % shape.width, row = p / shape.width % shape.height;
    Values inner, gated;
    for (int o = 0; o < 2 * channels; ++o) {
      double sum = half.inner_bias[o];
      for (int k = 0; k < half.taps; ++k) {
        const int64_t dy = reach ? k / 3 - 1 : 0, dx = reach ? k % 3 - 1 : 0;
        if (row + dy < 0 || row + dy >= shape.height || column + dx < 0 || column + dx >= shape.width)
          continue;
        for (int i = 0; i < channels; ++i)
          sum += normed[at(p + dy * shape.width + dx, i)] *
                 half.inner_weight[(static_cast<int64_t>(o) * half.taps + k) * channels + i];
      }
      inner.push_back(sum);
    }
    for (int c = 0; c < channels; ++c)
      gated.push_back(inner[static_cast<size_t>(c)] * inner[static_cast<size_t>(c + channels)]);
    for (int o = 0; o < channels; ++o) {
      double sum = half.outer_bias[o];
      for (int i = 0; i < channels; ++i)
        sum += gated[static_cast<size_t>(i)] * half.outer_weight[static_cast<int64_t>(o) * channels + i];
      result[at(p, o)] += half.scale[o] * sum;
    }
  }
  return result;
}

}  // namespace

TEST(whole_blocks_are_those_of_the_definition) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kShapes)
      for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
        Case c(shape, dtype);
        run_with(kernels->whole_block, c.operation(), 1);
        const Values expected =
            half_of(shape, c.pointwise, half_of(shape, c.spatial, values_of(c.x, c.count())));
        double squares = 0;
        for (const double value : expected) squares += value * value;
        // The tolerance follows the size of the summands, not of the sum.
        const double size = std::sqrt(squares / static_cast<double>(expected.size() + 1));
        const double tolerance = (dtype == DType::kFloat32 ? 1e-5 : 1e-1) * size;
        for (int64_t i = 0; i < c.count(); ++i)
          NEAR(c.output[i], expected[static_cast<size_t>(i)], tolerance);
      }
}

TEST(whole_blocks_do_not_depend_on_the_threads) {
  for (const DType dtype : kTypes)
    for (const Shape& shape : kShapes)
      for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
        Case one(shape, dtype), many(shape, dtype);
        run_with(kernels->whole_block, one.operation(), 1);
        run_with(kernels->whole_block, many.operation(), 3);
        EQUAL(many.output.bytes() == one.output.bytes(), true);
      }
}

// As tiles of a frame are: they begin at even pixels, and what they see of their neighbours is enough.
TEST(part_of_a_picture_gives_the_same_bits) {
  const Shape shape{1, 34, 44, 32};
  const int top = 6, left = 4;
  const Shape part{1, shape.height - top, shape.width - left, shape.channels};
  for (const DType dtype : kTypes)
    for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
      Case whole(shape, dtype), cut(part, dtype);
      const int64_t bytes = shape.channels * size_of(dtype);
      const auto row = [&](Numbers& numbers, const Shape& of, int y, int x) {
        return static_cast<char*>(numbers.data()) + (static_cast<int64_t>(y) * of.width + x) * bytes;
      };
      for (int y = 0; y < part.height; ++y)
        memcpy(row(cut.x, part, y, 0), row(whole.x, shape, y + top, left),
               static_cast<size_t>(part.width * bytes));
      run_with(kernels->whole_block, whole.operation(), 1);
      run_with(kernels->whole_block, cut.operation(), 1);
      for (int y = 2; y < part.height; ++y)
        EQUAL(memcmp(row(cut.output, part, y, 2), row(whole.output, shape, y + top, left + 2),
                     static_cast<size_t>((part.width - 2) * bytes)),
              0);
    }
}

TEST(enlarged_sums_are_those_of_the_definition) {
  struct Sizes {
    int32_t batch, height, width, in, channels;
  };
  // No picture, one pixel, ranges whose last is incomplete, every number of vectors in registers.
  const Sizes cases[] = {{0, 2, 2, 32, 16},   {1, 1, 1, 16, 16},  {2, 3, 5, 64, 32},
                         {1, 29, 31, 32, 48}, {1, 2, 97, 96, 96}, {1, 4, 3, 112, 112}};
  for (const DType dtype : kTypes)
    for (const Sizes& s : cases)
      for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
        const int64_t pixels = static_cast<int64_t>(s.batch) * s.height * s.width;
        Numbers x = Numbers::noise(dtype, pixels * s.in, 1),
                weight = Numbers::noise(dtype, 4 * s.channels * s.in, 2),
                skip = Numbers::noise(dtype, 4 * pixels * s.channels, 3);
        Numbers one = skip, many = skip;
        AddEnlarged add{s.batch, s.height, s.width,       s.in,      s.channels,
                        dtype,   x.data(), weight.data(), one.data()};
        run_with(kernels->add_enlarged, add, 1);
        add.skip = many.data();
        run_with(kernels->add_enlarged, add, 3);
        EQUAL(many.bytes() == one.bytes(), true);
        for (int64_t i = 0; i < 4 * pixels * s.channels; ++i) {
          const int64_t c = i % s.channels, column = i / s.channels % (2 * s.width),
                        row = i / s.channels / (2 * s.width);
          double expected = skip[i];
          for (int64_t k = 0; k < s.in; ++k)
            expected += weight[(4 * c + 2 * (row % 2) + column % 2) * s.in + k] *
                        x[(row / 2 * s.width + column / 2) * s.in + k];
          NEAR(one[i], expected, (dtype == DType::kFloat32 ? 1e-6 : 8e-3) * (1 + s.in / 3.0));
        }
      }
}
