// Checks, fetches and hands over pair by pair behind one progress bar.
#include "training_set.h"

#include <cmath>

#include "apply_model.h"

namespace copycat {
namespace {

constexpr std::size_t kManyPairs = 100;   // for more, the user confirms first
constexpr double kShareOfFetching = 0.8;  // of the progress bar; writing to disk takes what remains
constexpr int kSmallestSide = 32;         // pixels; the smallest crop

struct Clips {
  const char* input;
  const char* ground_truth;
};

Json range_of_clip(const Instance& instance, const char* name) {
  OfxPropertySetHandle handle = nullptr;
  const OfxImageClipHandle clip = instance.clip(name);
  Json range = Json::array();
  if (clip && suites().effect->clipGetPropertySet(clip, &handle) == kOfxStatOK) {
    const Properties p(handle);
    const double first = p.number(kOfxImageEffectPropFrameRange, NAN, 0);
    const double last = p.number(kOfxImageEffectPropFrameRange, NAN, 1);
    if (std::isfinite(first) && std::isfinite(last)) {
      range.append(std::ceil(first));
      range.append(std::floor(last));
      return range;
    }
  }
  double first = 0, last = 0;
  if (suites().time_line && suites().time_line->getTimeBounds &&
      suites().time_line->getTimeBounds(instance.effect, &first, &last) == kOfxStatOK) {
    range.append(std::ceil(first));
    range.append(std::floor(last));
  }
  return range;
}

std::vector<OfxTime> frames_to_fetch(const Instance& instance, const Clips& clips, OfxTime time) {
  Json request = Json::object();
  request.set("do", "frames").set("text", instance.parameters.text("trainingFrames", time));
  request.set("input", range_of_clip(instance, clips.input));
  request.set("ground_truth", range_of_clip(instance, clips.ground_truth));
  std::vector<OfxTime> frames;
  const Json answer = ask_behind_bar(instance.effect, std::move(request));
  for (const Json& frame : answer["frames"].items())
    if (const auto number = frame.integer()) frames.push_back(*number);
  if (frames.empty())
    throw std::runtime_error("Training Frames \"" + instance.parameters.text("trainingFrames", time) +
                             "\" names no frame: write frame numbers, as in 1001,1012, or all");
  return frames;
}

void ask_about_many(const Instance& instance, std::size_t pairs) {
  if (pairs <= kManyPairs || is_in_background()) return;
  const std::string question =
      "Training Frames are " + std::to_string(pairs) +
      " pairs. They will be fetched from the host and written to the Data Directory, and "
      "training will take long. Start?";
  if (show_message(instance.effect, kOfxMessageQuestion, question) == kOfxStatReplyNo) throw Cancelled();
}

std::string size_text(const OfxRectI& r) {
  return std::to_string(width(r)) + "x" + std::to_string(height(r));
}

std::string frame_text(OfxTime time) { return std::to_string(std::lround(time)); }

void check_picture(const HostImage& picture, const char* name, const Edit& edit) {
  const std::string frame = frame_text(edit.time);
  if (!picture) throw std::runtime_error(std::string(name) + " has no picture at frame " + frame);
  if (picture.is_scaled(edit.scale))
    throw std::runtime_error(
        std::string(name) + " at frame " + frame +
        " is a proxy: switch the host to full resolution, training needs the real picture");
}

// Sends a request with a copy of a picture, which the worker keeps.
Json send_picture(const HostImage& picture, const OfxRectI& region, Json request, const Aborted& aborted) {
  Buffer buffer(worker()->pool(), packed_bytes(region, picture.view().format));
  const PixelView shared = top_down_view(buffer.data(), region, picture.view().format);
  if (!write_pixels(picture.view(), buffer.memory()->descriptor(), region))
    copy_pixels(picture.view(), shared, region);
  request.set("picture", describe_picture(shared));
  buffer.discard();
  return worker()->ask(std::move(request), &buffer, aborted);
}

void hand_over(const HostImage& picture, const OfxRectI& region, Json request, const Aborted& aborted) {
  request.set("do", "hand_over");
  send_picture(picture, region, std::move(request), aborted);
}

// Hands over the pair at `edit.time`. False when its Ground Truth is black, as some hosts deliver it for an
// unconnected clip.
bool hand_over_pair(const Instance& instance, const Clips& clips, const Json& run, const Edit& edit,
                    const Aborted& aborted) {
  const OfxTime time = edit.time;
  const HostImage input(instance.clip(clips.input), time);
  check_picture(input, "Input", edit);
  const HostImage ground_truth(instance.clip(clips.ground_truth), time);
  check_picture(ground_truth, "Ground Truth", edit);
  const OfxRectI region = intersection(input.view().bounds, ground_truth.view().bounds);
  if (width(region) < kSmallestSide || height(region) < kSmallestSide)
    throw std::runtime_error("Input (" + size_text(input.view().bounds) + ") and Ground Truth (" +
                             size_text(ground_truth.view().bounds) + ") have too little in common at frame " +
                             frame_text(time));
  Json request = Json::object();
  request.set("run", run).set("frame", std::round(time));
  request.set("clip", "input");
  hand_over(input, region, request, aborted);
  request.set("clip", "groundTruth");
  hand_over(ground_truth, region, request, aborted);
  return !is_black(ground_truth.view(), region);
}

// Where the frame outside the data set that training renders as a preview comes from; null for nowhere.
OfxImageClipHandle preview_clip(const Instance& instance) {
  return instance.is_connected("Preview") ? instance.clip("Preview") : nullptr;
}

bool can_preview(const HostImage& picture, const Edit& edit) {
  return picture && !picture.is_scaled(edit.scale) && !is_black(picture.view(), picture.view().bounds);
}

void hand_over_preview(const Instance& instance, const Json& run, const Edit& edit, const Aborted& aborted) {
  const HostImage preview(preview_clip(instance), edit.time);
  if (!can_preview(preview, edit)) return;
  Json request = Json::object();
  request.set("run", run).set("frame", std::round(edit.time)).set("clip", "preview");
  hand_over(preview, preview.view().bounds, request, aborted);
}

void check_clips(const Instance& instance, const Clips& clips) {
  const std::pair<const char*, const char*> needed[] = {{clips.input, "Input"},
                                                        {clips.ground_truth, "Ground Truth"}};
  for (const auto& [name, label] : needed)
    if (!instance.is_connected(name))
      throw std::runtime_error(std::string(label) +
                               " is not connected: training needs both Input and Ground Truth");
}

void check_frames(const std::vector<OfxTime>& frames, OfxTime time) {
  const bool elsewhere = frames.size() > 1 || (frames.size() == 1 && frames[0] != time);
  // 1 where the host does not say: the property is older than any host in use.
  if (elsewhere && host_properties().integer(kOfxImageEffectPropTemporalClipAccess, 1) == 0)
    throw std::runtime_error(
        "this host delivers the current frame only: set Training Frames to the current frame, or train "
        "from files "
        "with \"copycat train\"");
}

Json fetch_and_finish(Instance& instance, const Clips& clips, const Json& run, const Edit& edit,
                      const char* finish) {
  const std::vector<OfxTime> frames = frames_to_fetch(instance, clips, edit.time);
  check_frames(frames, edit.time);
  ask_about_many(instance, frames.size());

  ProgressBar bar(instance.effect, "copycat: fetching " + std::to_string(frames.size()) + " training pairs");
  double done = 0;
  bool learns = false;
  const Aborted aborted = [&] { return !bar.update(done) || instance.aborted()(); };
  for (std::size_t i = 0; i < frames.size(); ++i) {
    done = kShareOfFetching * static_cast<double>(i) / static_cast<double>(frames.size());
    if (aborted()) throw Cancelled();
    if (hand_over_pair(instance, clips, run, {edit.parameter, frames[i], edit.scale}, aborted)) learns = true;
  }
  if (!learns) throw std::runtime_error("Ground Truth is black at every training frame: is it connected?");
  if (std::string(finish) == "train") hand_over_preview(instance, run, edit, aborted);
  Json request = Json::object();
  request.set("do", finish).set("run", run).set("settings", instance.parameters.settings(edit.time));
  return worker()->ask(std::move(request), nullptr, aborted,
                       [&](double written) { done = kShareOfFetching + (1 - kShareOfFetching) * written; });
}

// Has the worker begin with a run, hands the pairs over, and has the worker finish.
Json hand_over_all(Instance& instance, const Edit& edit, const char* begin_with, const char* finish) {
  const Clips clips{input_clip(instance), "GroundTruth"};
  check_clips(instance, clips);
  instance.parameters.check_paths(edit.time);
  Json begin = Json::object();
  begin.set("do", begin_with).set("settings", instance.parameters.settings(edit.time));
  const Json run = ask_behind_bar(instance.effect, std::move(begin))["run"];
  const int count = worker()->count();
  try {
    return fetch_and_finish(instance, clips, run, edit, finish);
  } catch (...) {
    // A death between two requests goes unnoticed, and the next worker does not know the run.
    const bool has_died = worker()->count() != count;
    Json abandon = Json::object();
    abandon.set("do", "abandon").set("run", run);
    try {
      finish_behind_bar(instance.effect, std::move(abandon));
    } catch (const std::exception&) {  // no worker, nothing to abandon
    }
    if (has_died) throw WorkerError("the copycat worker has died while it received the training frames");
    throw;
  }
}

}  // namespace

Json start_training(Instance& instance, const Edit& edit) {
  return hand_over_all(instance, edit, "begin_run", "train");
}

Json update_training_frames(Instance& instance, const Edit& edit) {
  return hand_over_all(instance, edit, "begin_update", "update");
}

Json update_pictures(Instance& instance, const Edit& edit, Json request) {
  const HostImage preview(preview_clip(instance), edit.time);
  if (!can_preview(preview, edit)) return ask_behind_bar(instance.effect, std::move(request));
  request.set("frame", std::round(edit.time));
  LateProgressBar bar(instance.effect, "copycat: waiting for the trainer");
  return send_picture(preview, preview.view().bounds, std::move(request), [&] { return !bar.update(0); });
}

}  // namespace copycat
