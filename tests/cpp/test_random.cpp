// Philox against published answers, the shuffle's bijectivity, and where crops land.
#include <array>
#include <set>

#include "check.h"
#include "kernels/crop_rule.h"

using namespace copycat;

namespace {

struct Answer {
  Words4 counter;
  uint64_t key;
  std::array<uint32_t, 4> words;
};

CropRule small_rule(const int32_t* valid, int64_t frames) {
  CropRule rule{};
  rule.frames = frames;
  rule.frame_height = 40;
  rule.frame_width = 50;
  rule.height = 8;
  rule.width = 12;
  rule.valid = valid;
  rule.crops_per_pair = 1;
  rule.total_samples = frames;
  rule.seed = 7;
  return rule;
}

}  // namespace

// Random123's test vectors for philox4x32-10.
TEST(philox_gives_the_published_answers) {
  const Answer answers[] = {
      {{{0, 0, 0, 0}}, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
      {{{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}},
       0xffffffffffffffffu,
       {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
      {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
       0x299f31d0a4093822u,
       {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
  };
  for (const Answer& answer : answers) {
    const Words4 actual = philox(answer.counter, answer.key);
    for (size_t i = 0; i < 4; ++i) EQUAL(actual.w[i], answer.words[i]);
  }
}

TEST(shuffle_is_a_bijection) {
  for (uint32_t size = 1; size <= 200; ++size) {
    for (uint64_t epoch : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
      std::set<uint32_t> actual;
      for (uint32_t i = 0; i < size; ++i) actual.insert(shuffled(i, size, epoch, 0x123456789abcdefu));
      EQUAL(actual.size(), size);
      EQUAL(*actual.rbegin(), size - 1);
    }
  }
}

TEST(shuffle_puts_every_frame_everywhere) {
  // 5 frames, 5000 epochs: each frame comes first 1000 times, give or take 5 standard deviations (28).
  int first[5] = {};
  for (uint64_t epoch = 0; epoch < 5000; ++epoch) ++first[shuffled(0, 5, epoch, 99)];
  for (int count : first) NEAR(count, 1000, 141);
}

TEST(shuffle_of_the_largest_bank_stays_inside) {
  EQUAL(shuffled(16777215u, 16777216u, 3, 4) < 16777216u, true);
}

TEST(a_batch_of_all_frames_takes_each_once) {
  const int32_t valid[5 * 4] = {0, 0, 50, 40, 0, 0, 50, 40, 0, 0, 50, 40, 0, 0, 50, 40, 0, 0, 50, 40};
  CropRule rule = small_rule(valid, 5);
  for (rule.step = 0; rule.step < 50; ++rule.step) {
    std::set<int32_t> frames;
    for (int64_t i = 0; i < 5; ++i) frames.insert(draw_placement(rule, i).frame);
    EQUAL(frames.size(), size_t{5});
  }
}

TEST(crops_stay_inside_the_valid_rectangle_and_reach_its_corners) {
  const int32_t valid[4] = {3, 5, 20, 19};
  CropRule rule = small_rule(valid, 1);
  rule.total_samples = 4000;
  int32_t left = 99, top = 99, right = 0, bottom = 0;
  for (int64_t i = 0; i < 4000; ++i) {
    const Placement at = draw_placement(rule, i);
    left = least(left, at.x);
    top = least(top, at.y);
    right = most(right, at.x + rule.width);
    bottom = most(bottom, at.y + rule.height);
  }
  EQUAL(left, 3);
  EQUAL(top, 5);
  EQUAL(right, 20);
  EQUAL(bottom, 19);
}

TEST(a_wrong_rectangle_cannot_leave_the_frame) {
  const int32_t rectangles[][4] = {{-9, -9, 99, 99}, {45, 38, 50, 40}, {2000000000, -2000000000, 0, 0}};
  for (const auto& valid : rectangles) {
    CropRule rule = small_rule(valid, 1);
    rule.turn = 0.5f;
    rule.total_samples = 200;
    for (int64_t i = 0; i < 200; ++i) {
      const Placement at = draw_placement(rule, i);
      const int32_t width = at.quarters & 1 ? rule.height : rule.width;
      const int32_t height = at.quarters & 1 ? rule.width : rule.height;
      EQUAL(at.x >= 0 && at.y >= 0 && at.x + width <= 50 && at.y + height <= 40, true);
    }
  }
}

TEST(centred_crops_hold_a_centre) {
  const int32_t valid[8] = {0, 0, 50, 40, 0, 0, 50, 40};
  const int32_t centres[] = {1, 1, 49, 39, 25, 20};
  const int32_t starts[] = {0, 3, 3};  // the second frame has none
  CropRule rule = small_rule(valid, 2);
  rule.centres = centres;
  rule.centre_starts = starts;
  rule.centre_count = 3;
  rule.centre_share = 1.0f;
  for (rule.step = 0; rule.step < 300; ++rule.step) {
    for (int64_t i = 0; i < 2; ++i) {
      const Placement at = draw_placement(rule, i);
      if (at.frame != 0) continue;
      bool holds = false;
      for (int c = 0; c < 3; ++c) {
        const int32_t x = centres[2 * c] - at.x;
        const int32_t y = centres[2 * c + 1] - at.y;
        holds = holds || (x >= 0 && x < rule.width && y >= 0 && y < rule.height);
      }
      EQUAL(holds, true);
    }
  }
}

TEST(walks_turn_against_the_clock_then_mirror) {
  // The frame's element at (y, x) is 100 y + x; the crop is 2 x 3 after turning.
  CropRule rule{};
  rule.height = 2;
  rule.width = 3;
  const auto corner = [&](int32_t quarters, bool flip, bool flop) {
    const Walk way = walk(rule, {0, 10, 20, flip, flop, quarters}, 100, 1);
    return std::array<int64_t, 3>{way.start, way.down, way.right};
  };
  const auto is = [](std::array<int64_t, 3> actual, std::array<int64_t, 3> expected) {
    EQUAL(actual == expected, true);
  };
  is(corner(0, false, false), {2010, 100, 1});
  is(corner(1, false, false), {2011, -1, 100});
  is(corner(2, false, false), {2112, -100, -1});
  is(corner(3, false, false), {2210, 1, -100});
  is(corner(0, true, false), {2110, -100, 1});
  is(corner(0, false, true), {2012, 100, -1});
  is(corner(1, true, true), {2210, 1, -100});
}
