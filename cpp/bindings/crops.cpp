// sample_crops and crop_positions: the checks around cutting crops.
#include <pybind11/stl.h>

#include "run.h"

namespace copycat::bindings {
namespace {

// What both functions share; Python passes it as one object so that the two can never differ.
struct RuleArguments {
  std::pair<int64_t, int64_t> crop;
  py::object valid, centres, centre_offsets, step_tensor;
  int64_t step;
  uint64_t seed;
  double centre_share, flip, flop, turn, gain, contrast, saturation;
  int64_t crops_per_pair, first_sample, total_samples;
};

float probability(double value, const char* name) {
  if (!(value >= 0.0 && value <= 1.0)) refuse(name, "must be 0 to 1, not " + std::to_string(value));
  return static_cast<float>(value);
}

CropRule rule(const RuleArguments& arguments, const Pixels& bank, int64_t batch, const Device& device) {
  const auto [height, width] = arguments.crop;
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  const bool turned = arguments.turn > 0;
  const int64_t least_width = turned ? most(width, height) : width;
  const int64_t least_height = turned ? most(width, height) : height;
  if (height < 1 || width < 1) refuse("crop", "must be at least 1 x 1, not " + size);
  if (least_width > bank.width || least_height > bank.height) {
    refuse("crop", "of " + size + (turned ? " (turned as well)" : "") + " does not fit into frames of " +
                       std::to_string(bank.width) + " x " + std::to_string(bank.height));
  }
  if (batch < 1) refuse("batch", "must be at least 1, not " + std::to_string(batch));
  if (arguments.step < 0) refuse("step", "must not be negative, but is " + std::to_string(arguments.step));
  if (arguments.crops_per_pair < 1) {
    refuse("crops_per_pair", "must be at least 1, not " + std::to_string(arguments.crops_per_pair));
  }
  if (arguments.first_sample < 0 || arguments.first_sample + batch > arguments.total_samples) {
    refuse("total_samples", "is " + std::to_string(arguments.total_samples) + ", but samples " +
                                std::to_string(arguments.first_sample) + " to " +
                                std::to_string(arguments.first_sample + batch - 1) + " are requested");
  }

  CropRule result{};
  result.frames = bank.count;
  result.frame_height = static_cast<int32_t>(bank.height);
  result.frame_width = static_cast<int32_t>(bank.width);
  result.height = static_cast<int32_t>(height);
  result.width = static_cast<int32_t>(width);
  result.valid = valid_rectangles(tensor(arguments.valid, "valid"), bank, device, least_width, least_height);
  result.centre_share = probability(arguments.centre_share, "centre_share");
  result.flip = probability(arguments.flip, "flip");
  result.flop = probability(arguments.flop, "flop");
  result.turn = probability(arguments.turn, "turn");
  result.gain = probability(arguments.gain, "gain");
  result.contrast = probability(arguments.contrast, "contrast");
  result.saturation = probability(arguments.saturation, "saturation");
  result.crops_per_pair = arguments.crops_per_pair;
  result.first_sample = arguments.first_sample;
  result.total_samples = arguments.total_samples;
  result.step = arguments.step;
  result.seed = arguments.seed;
  if (!arguments.step_tensor.is_none()) {
    const Tensor step = tensor(arguments.step_tensor, "step");
    need_element(step, Element::kInt64, "int64");
    need_shape(step, {});
    need_device(step, device);
    result.step_at = static_cast<const int64_t*>(step.data);
    if (!device.cuda && *result.step_at < 0) {
      refuse("step", "must not be negative, but is " + std::to_string(*result.step_at));
    }
  }
  if (arguments.centres.is_none() != arguments.centre_offsets.is_none()) {
    refuse(arguments.centres.is_none() ? "centres" : "centre_offsets",
           "is missing, but its counterpart is given");
  }
  if (!arguments.centres.is_none()) {
    const Tensor centres = tensor(arguments.centres, "centres");
    need_element(centres, Element::kInt32, "int32");
    need_rank(centres, 2);
    need_shape(centres, {centres.shape[0], 2});
    need_dense(centres);
    need_device(centres, device);
    const Tensor offsets = tensor(arguments.centre_offsets, "centre_offsets");
    need_element(offsets, Element::kInt32, "int32");
    need_shape(offsets, {bank.count + 1});
    need_dense(offsets);
    need_device(offsets, device);
    result.centres = static_cast<const int32_t*>(centres.data);
    result.centre_starts = static_cast<const int32_t*>(offsets.data);
    if (centres.shape[0] > INT32_MAX) refuse("centres", "has more than 2^31 rows");
    result.centre_count = static_cast<int32_t>(centres.shape[0]);
    if (!device.cuda) {
      const int32_t* starts = result.centre_starts;
      bool rising = starts[0] == 0 && starts[bank.count] == result.centre_count;
      for (int64_t n = 0; n < bank.count; ++n) rising = rising && starts[n] <= starts[n + 1];
      if (!rising) {
        refuse("centre_offsets",
               "must rise from 0 to the number of centres, " + std::to_string(result.centre_count));
      }
    }
  }
  return result;
}

CropPlane plane(const Tensor& bank, const Tensor& output, const Pixels& first, const Device& device,
                std::pair<int64_t, int64_t> crop) {
  CropPlane result{};
  result.source = pixels(bank, device);
  if (result.source.count != first.count || result.source.height != first.height ||
      result.source.width != first.width) {
    refuse(bank.name, "has the shape " + bank.describe_shape() + ", but the input has " +
                          std::to_string(first.count) + " frames of " + std::to_string(first.width) + " x " +
                          std::to_string(first.height));
  }
  need_rank(output, 4);
  need_shape(output, {output.shape[0], crop.first, crop.second, bank.shape[3]});
  need_dense(output);
  need_device(output, device);
  result.output = output.data;
  result.output_dtype = output_type(output);
  return result;
}

// From the red, green and blue channel of every layer, one after the other.
Layers layers(const std::vector<int64_t>& numbers, int64_t channels, const std::string& name) {
  if (numbers.size() % 3 != 0 || numbers.size() > static_cast<size_t>(channels)) {
    refuse(name, "must be the red, green and blue of layers within " + std::to_string(channels) +
                     " channels, not " + std::to_string(numbers.size()) + " numbers");
  }
  Layers result{};
  result.count = static_cast<int32_t>(numbers.size() / 3);
  std::vector<bool> taken(static_cast<size_t>(channels), false);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const int64_t channel = numbers[i];
    if (channel < 0 || channel >= channels) {
      refuse(name, "has the channel " + std::to_string(channel) + " of " + std::to_string(channels));
    }
    if (taken[static_cast<size_t>(channel)]) {
      refuse(name, "has the channel " + std::to_string(channel) + " twice");
    }
    taken[static_cast<size_t>(channel)] = true;
    result.channels[i / 3][i % 3] = static_cast<int8_t>(channel);
  }
  return result;
}

// Outputs are [batch, height, width, channels] without gaps.
void sample_crops(const py::object& input_bank, const py::object& target_bank, const py::object& mask_bank,
                  const py::object& input_out, const py::object& target_out, const py::object& mask_out,
                  const std::vector<double>& input_encoding, const std::vector<double>& target_encoding,
                  const std::vector<int64_t>& input_layers, const std::vector<int64_t>& target_layers,
                  const RuleArguments& arguments, int threads, uintptr_t stream) {
  const Tensor input = tensor(input_bank, "input_bank");
  const Tensor target = tensor(target_bank, "target_bank");
  const Tensor output = tensor(input_out, "input_out");
  const Device device = output.device;
  need_rank(output, 4);
  const Pixels first = pixels(input, device);

  SampleCrops operation{};
  operation.batch = output.shape[0];
  operation.rule = rule(arguments, first, operation.batch, device);
  operation.planes[0] = plane(input, output, first, device, arguments.crop);
  operation.planes[0].encoding = encoding(input_encoding, input.shape[3], "input_encoding");
  operation.planes[0].layers = layers(input_layers, input.shape[3], "input_layers");
  operation.planes[1] = plane(target, tensor(target_out, "target_out"), first, device, arguments.crop);
  operation.planes[1].encoding = encoding(target_encoding, target.shape[3], "target_encoding");
  operation.planes[1].layers = layers(target_layers, target.shape[3], "target_layers");
  operation.plane_count = 2;
  if (tensor(target_out, "target_out").shape[0] != operation.batch) refuse("target_out", "has another batch");
  if (!mask_bank.is_none()) {
    const Tensor mask = tensor(mask_bank, "mask_bank");
    const Tensor mask_output = tensor(mask_out, "mask_out");
    operation.planes[2] = plane(mask, mask_output, first, device, arguments.crop);
    if (mask.shape[3] != 1) refuse("mask_bank", "must have 1 channel, not " + std::to_string(mask.shape[3]));
    if (mask_output.shape[0] != operation.batch) refuse("mask_out", "has another batch");
    operation.planes[2].encoding = encoding({0, 0, 1}, 1, "mask");
    operation.plane_count = 3;
  }
  run(operation, {device, threads, stream});
}

void crop_positions(int64_t frame_height, int64_t frame_width, const py::object& out,
                    const RuleArguments& arguments, int threads, uintptr_t stream) {
  const Tensor output = tensor(out, "out");
  need_element(output, Element::kInt32, "int32");
  need_rank(output, 2);
  need_shape(output, {output.shape[0], 5});
  need_dense(output);
  Pixels bank{};
  bank.count = tensor(arguments.valid, "valid").shape.at(0);
  bank.height = frame_height;
  bank.width = frame_width;
  CropPositions operation{};
  operation.batch = output.shape[0];
  operation.rule = rule(arguments, bank, operation.batch, output.device);
  operation.output = static_cast<int32_t*>(output.data);
  run(operation, {output.device, threads, stream});
}

}  // namespace

void register_crops(py::module_& module) {
  py::class_<RuleArguments>(module, "CropRule")
      .def(py::init([](std::pair<int64_t, int64_t> crop, py::object valid, py::object centres,
                       py::object centre_offsets, py::object step_tensor, int64_t step, uint64_t seed,
                       double centre_share, double flip, double flop, double turn, double gain,
                       double contrast, double saturation, int64_t crops_per_pair, int64_t first_sample,
                       int64_t total_samples) {
             return RuleArguments{crop,     valid,        centres,        centre_offsets, step_tensor,  step,
                                  seed,     centre_share, flip,           flop,           turn,         gain,
                                  contrast, saturation,   crops_per_pair, first_sample,   total_samples};
           }),
           py::kw_only(), py::arg("crop"), py::arg("valid"), py::arg("centres"), py::arg("centre_offsets"),
           py::arg("step_tensor"), py::arg("step"), py::arg("seed"), py::arg("centre_share"), py::arg("flip"),
           py::arg("flop"), py::arg("turn"), py::arg("gain"), py::arg("contrast"), py::arg("saturation"),
           py::arg("crops_per_pair"), py::arg("first_sample"), py::arg("total_samples"));
  define(module, "sample_crops", sample_crops, "input_bank", "target_bank", "mask_bank", "input_out",
         "target_out", "mask_out", "input_encoding", "target_encoding", "input_layers", "target_layers",
         "rule", "threads", "stream");
  define(module, "crop_positions", crop_positions, "frame_height", "frame_width", "out", "rule", "threads",
         "stream");
}

}  // namespace copycat::bindings
