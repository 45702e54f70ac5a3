// The 3x3 convolution and its gradients against their definition in double, on any number of threads and with
// every instruction set that this processor has.
#include <cmath>
#include <vector>

#include "all_vector_kernels.h"
#include "check.h"
#include "numbers.h"

using namespace copycat;

namespace {

// No picture, no pixel, one pixel, odd sides, more patches than are convolved together, every number of
// vectors in registers, many channels.
const Conv3x3 kShapes[] = {{0, 3, 5, 32, 48, {}},  {2, 0, 5, 16, 16, {}},   {1, 1, 1, 16, 16, {}},
                           {2, 3, 5, 32, 48, {}},  {1, 22, 19, 16, 32, {}}, {3, 6, 7, 48, 64, {}},
                           {1, 5, 4, 80, 112, {}}, {1, 4, 4, 256, 32, {}}};

// The arguments of a convolution, and memory for its output and gradients.
struct Case {
  Conv3x3 conv;
  int64_t pixels, weights;
  Numbers input, weight, bias, gradient, output, input_gradient, weight_gradient, bias_gradient;

  Case(const Conv3x3& shape, DType dtype)
      : conv{shape.batch, shape.height, shape.width, shape.channels_in, shape.channels_out, dtype},
        pixels(static_cast<int64_t>(shape.batch) * shape.height * shape.width),
        weights(int64_t{9} * shape.channels_in * shape.channels_out),
        input(Numbers::noise(dtype, pixels * shape.channels_in, 1)),
        weight(Numbers::noise(dtype, weights, 2)),
        bias(Numbers::noise(dtype, shape.channels_out, 3)),
        gradient(Numbers::noise(dtype, pixels * shape.channels_out, 4)),
        output(dtype, pixels * shape.channels_out),
        input_gradient(dtype, pixels * shape.channels_in),
        weight_gradient(dtype, weights),
        bias_gradient(dtype, shape.channels_out) {}

  void run(const Conv3x3Kernels& kernels, int threads) {
    run_with(kernels, Conv3x3Forward{conv, input.data(), weight.data(), bias.data(), output.data()}, threads);
    run_with(kernels, Conv3x3InputGradient{conv, gradient.data(), weight.data(), input_gradient.data()},
             threads);
    run_with(kernels,
             Conv3x3WeightGradient{conv, input.data(), gradient.data(), weight_gradient.data(),
                                   bias_gradient.data()},
             threads);
  }

  std::vector<std::vector<uint8_t>> results() const {
    return {output.bytes(), input_gradient.bytes(), weight_gradient.bytes(), bias_gradient.bytes()};
  }
};

// Sums of products under a 3x3 window.
struct Definition {
  std::vector<double> output, input_gradient, weight_gradient, bias_gradient;

  explicit Definition(const Case& c)
      : output(static_cast<size_t>(c.pixels * c.conv.channels_out)),
        input_gradient(static_cast<size_t>(c.pixels * c.conv.channels_in)),
        weight_gradient(static_cast<size_t>(c.weights)),
        bias_gradient(static_cast<size_t>(c.conv.channels_out)) {
    const int height = c.conv.height, width = c.conv.width, in = c.conv.channels_in,
              out = c.conv.channels_out;
    for (int b = 0; b < c.conv.batch; ++b)
      for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
          for (int o = 0; o < out; ++o) {
            const int64_t at = ((int64_t{b} * height + y) * width + x) * out + o;
            double sum = c.bias[o];
            bias_gradient[static_cast<size_t>(o)] += c.gradient[at];
            for (int k = 0; k < 9; ++k) {
              const int v = y + k / 3 - 1, u = x + k % 3 - 1;
              if (v < 0 || v >= height || u < 0 || u >= width) continue;
              for (int i = 0; i < in; ++i) {
                const int64_t from = ((int64_t{b} * height + v) * width + u) * in + i,
                              w = (int64_t{o} * 9 + k) * in + i;
                sum += c.input[from] * c.weight[w];
                input_gradient[static_cast<size_t>(from)] += c.gradient[at] * c.weight[w];
                weight_gradient[static_cast<size_t>(w)] += c.gradient[at] * c.input[from];
              }
            }
            output[static_cast<size_t>(at)] = sum;
          }
  }
};

// The tolerance follows the size of the summands, not of the sum.
void expect(const Numbers& actual, const std::vector<double>& expected, DType dtype) {
  double squares = 0;
  for (const double value : expected) squares += value * value;
  const double size = std::sqrt(squares / static_cast<double>(expected.size())) + 1e-3;
  const double tolerance = (dtype == DType::kFloat32 ? 1e-5 : 4e-2) * size;
  for (size_t i = 0; i < expected.size(); ++i) NEAR(actual[static_cast<int64_t>(i)], expected[i], tolerance);
}

}  // namespace

TEST(convolutions_and_their_gradients_are_those_of_the_definition) {
  for (const DType dtype : kTypes)
    for (const Conv3x3& shape : kShapes) {
      const Definition expected{Case(shape, dtype)};
      for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
        Case c(shape, dtype);
        c.run(kernels->conv3x3, 1);
        expect(c.output, expected.output, dtype);
        expect(c.input_gradient, expected.input_gradient, dtype);
        expect(c.weight_gradient, expected.weight_gradient, dtype);
        expect(c.bias_gradient, expected.bias_gradient, dtype);
      }
    }
}

TEST(convolutions_do_not_depend_on_the_threads) {
  for (const DType dtype : kTypes)
    for (const Conv3x3& shape : kShapes)
      for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
        std::vector<std::vector<std::vector<uint8_t>>> outputs;
        for (const int threads : {1, 2, 5}) {
          Case c(shape, dtype);
          c.run(kernels->conv3x3, threads);
          outputs.push_back(c.results());
        }
        EQUAL(outputs[1] == outputs[0], true);
        EQUAL(outputs[2] == outputs[0], true);
      }
}

TEST(a_convolution_may_have_no_bias) {
  for (const DType dtype : kTypes)
    for (const VectorKernels* kernels : all_vector_kernels(dtype)) {
      Case with(kShapes[3], dtype), without(kShapes[3], dtype);
      with.bias = Numbers::zeros(dtype, with.conv.channels_out);
      with.run(kernels->conv3x3, 1);
      run_with(kernels->conv3x3,
               Conv3x3Forward{without.conv, without.input.data(), without.weight.data(), nullptr,
                              without.output.data()},
               1);
      EQUAL(without.output.bytes() == with.output.bytes(), true);
    }
}
