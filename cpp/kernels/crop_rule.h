// Which crop a sample is: frame, position and turn as a pure function of (seed, step, sample).
#pragma once

#include "random.h"

namespace copycat {

struct CropRule {
  int64_t frames;  // N pairs in the bank
  int32_t frame_height, frame_width;
  int32_t height, width;         // the crop's, after turning
  const int32_t* valid;          // [N,4] x0, y0, x1, y1, half open
  const int32_t* centres;        // [M,2] x, y, sorted by frame; null for none
  const int32_t* centre_starts;  // [N+1] where a frame's centres begin
  int32_t centre_count;
  float centre_share, flip, flop, turn, gain, contrast, saturation;  // probabilities
  int64_t crops_per_pair;
  int64_t first_sample, total_samples;
  int64_t step;
  const int64_t*
      step_at;  // on the device, for a captured graph, which cannot change `step`; null: use `step`
  uint64_t seed;
};

// The crop's rectangle starts at (x, y) in the frame. It is turned counterclockwise by `quarters` x 90
// degrees, then mirrored left-right (flop), then upside down (flip).
struct Placement {
  int32_t frame, x, y;
  bool flip, flop;
  int32_t quarters;
};

// Where the output's pixels lie in the frame, as offsets in elements from its first: `start` for pixel (0,
// 0), `down` and `right` for a step of one pixel.
struct Walk {
  int64_t start, down, right;
};

COPYCAT_HD uint64_t step_of(const CropRule& rule) {
  return static_cast<uint64_t>(rule.step_at ? *rule.step_at : rule.step);
}

COPYCAT_HD Placement draw_placement(const CropRule& rule, int64_t index) {
  const uint64_t step = step_of(rule);
  const uint64_t sample = static_cast<uint64_t>(rule.first_sample + index);
  const uint64_t frames = static_cast<uint64_t>(rule.frames);
  const uint64_t pair = (step * static_cast<uint64_t>(rule.total_samples) + sample) /
                        static_cast<uint64_t>(rule.crops_per_pair);
  const uint32_t low = static_cast<uint32_t>(step);
  const uint32_t high = static_cast<uint32_t>(step >> 32);
  const Words4 position = philox({{static_cast<uint32_t>(sample), 0, low, high}}, rule.seed);
  const Words4 orientation = philox({{static_cast<uint32_t>(sample), 1, low, high}}, rule.seed);

  Placement at;
  at.frame = static_cast<int32_t>(shuffled(static_cast<uint32_t>(pair % frames),
                                           static_cast<uint32_t>(frames), pair / frames, rule.seed));
  at.flip = chance(orientation.w[0], rule.flip);
  at.flop = chance(orientation.w[1], rule.flop);
  at.quarters = chance(orientation.w[2], rule.turn) ? 1 + uniform_below(orientation.w[3], 3) : 0;
  const int32_t height = at.quarters & 1 ? rule.width : rule.height;
  const int32_t width = at.quarters & 1 ? rule.height : rule.width;

  // The host cannot check a rectangle in device memory: clamp it, so that every read stays inside the frame.
  const int32_t* valid = rule.valid + 4 * static_cast<int64_t>(at.frame);
  const int32_t left = least(most(valid[0], 0), rule.frame_width - width);
  const int32_t top = least(most(valid[1], 0), rule.frame_height - height);
  const int32_t last_x = most(least(valid[2], rule.frame_width) - width, left);
  const int32_t last_y = most(least(valid[3], rule.frame_height) - height, top);

  const int32_t first_centre = rule.centres ? most(rule.centre_starts[at.frame], 0) : 0;
  const int32_t end_centre = rule.centres ? least(rule.centre_starts[at.frame + 1], rule.centre_count) : 0;
  if (first_centre < end_centre && chance(position.w[2], rule.centre_share)) {
    const int32_t chosen = first_centre + uniform_below(position.w[3], end_centre - first_centre);
    at.x = least(most(rule.centres[2 * chosen] - uniform_below(position.w[0], width), left), last_x);
    at.y = least(most(rule.centres[2 * chosen + 1] - uniform_below(position.w[1], height), top), last_y);
  } else {
    at.x = left + uniform_below(position.w[0], last_x - left + 1);
    at.y = top + uniform_below(position.w[1], last_y - top + 1);
  }
  return at;
}

// Writes five numbers: frame, x, y, mirroring (1 flip, 2 flop, 3 both), quarters.
COPYCAT_HD void write_placement(const Placement& at, int32_t* row) {
  row[0] = at.frame;
  row[1] = at.x;
  row[2] = at.y;
  row[3] = (at.flip ? 1 : 0) | (at.flop ? 2 : 0);
  row[4] = at.quarters;
}

COPYCAT_HD Walk walk(const CropRule& rule, const Placement& at, int64_t row_stride, int64_t pixel_stride) {
  int64_t start = at.y * row_stride + at.x * pixel_stride;
  int64_t down = row_stride;
  int64_t right = pixel_stride;
  const int64_t last_down = rule.height - 1;
  const int64_t last_right = rule.width - 1;
  if (at.quarters == 1) {  // out(y, x) = in(x, height - 1 - y)
    start += last_down * pixel_stride;
    down = -pixel_stride;
    right = row_stride;
  } else if (at.quarters == 2) {
    start += last_down * row_stride + last_right * pixel_stride;
    down = -row_stride;
    right = -pixel_stride;
  } else if (at.quarters == 3) {  // out(y, x) = in(width - 1 - x, y)
    start += last_right * row_stride;
    down = pixel_stride;
    right = -row_stride;
  }
  if (at.flop) {
    start += last_right * right;
    right = -right;
  }
  if (at.flip) {
    start += last_down * down;
    down = -down;
  }
  return {start, down, right};
}

}  // namespace copycat
