// The CopyCat effect: starts, stops and resumes runs, and shows their previews, contact sheets and curves.
#include <cmath>
#include <map>
#include <string>

#include "apply_model.h"
#include "effect.h"
#include "training_set.h"

namespace copycat {
namespace {

constexpr char kViewPreview[] = "Preview";
constexpr char kViewSheet[] = "Contact Sheet";
constexpr char kViewCurve[] = "Loss Curve";

std::string with_frame(const std::string& frames, OfxTime time) {
  const std::string frame = std::to_string(std::llround(time));
  return frames.empty() || frames == "all" ? frame : frames + "," + frame;
}

// "Training_1: training, step 100" is too long for a node.
std::string without_run(const std::string& status) {
  const std::size_t end = status.find(": ");
  return end == std::string::npos ? status : status.substr(end + 2);
}

// What a button asks of the run, or null if it is none of these buttons.
const char* request_of(const std::string& button) {
  static const std::map<std::string, const char*> requests = {
      {"changePlan", "plan"},       {"saveCheckpoint", "checkpoint"}, {"stopTraining", "stop"},
      {"finishTraining", "finish"}, {"resumeTraining", "resume"},
  };
  const auto found = requests.find(button);
  return found == requests.end() ? nullptr : found->second;
}

Json about_run(const char* what, const Parameters& parameters, OfxTime time) {
  parameters.check_paths(time);
  Json request = Json::object();
  request.set("do", what).set("settings", parameters.settings(time));
  return request.set("display", parameters.display(time));
}

class CopyCatEffect final : public Effect {
 protected:
  Description description() const override {
    return {"CopyCat", "Trains a small network on a few frames before and after an effect.", true};
  }

  const KnobTable& knobs() const override { return kCopyCatKnobs; }

  std::vector<ClipRow> clips(bool general) const override {
    if (general)
      return {
          {"Input", "Input", false}, {"GroundTruth", "Ground Truth", false}, {"Preview", "Preview", true}};
    return {{kOfxImageEffectSimpleSourceClipName, "Input", false},
            {"GroundTruth", "Ground Truth", true},
            {"Preview", "Preview", true}};
  }

  const char* shown_clip(const Instance& instance, OfxTime time) const override {
    const bool preview =
        instance.parameters.text("view", time) == kViewPreview && instance.is_connected("Preview");
    return preview ? "Preview" : input_clip(instance);
  }

  bool is_identity(Instance& instance, OfxTime time) const override {
    if (const std::optional<Json> late = instance.status.take_late_answer()) post_status(instance, *late);
    const std::string view = instance.parameters.text("view", time);
    if (view == "Input") return true;
    return instance.parameters.text("dataDirectory", time).empty();
  }

  void render(Instance& instance, const RenderArguments& arguments) const override {
    const OfxTime time = arguments.time;
    const HostImage output(instance.clip(kOfxImageEffectOutputClipName), time);
    if (!output) throw std::runtime_error("the host gave no picture to render into");
    if (is_identity(instance, time)) {
      const HostImage input(instance.clip(shown_clip(instance, time)), time);
      copy_or_clear(input.view(), output.view(), arguments.window, arguments.rows);
      return;
    }
    const std::string view = instance.parameters.text("view", time);
    if (view == kViewSheet || view == kViewCurve) {
      draw(view == kViewSheet ? "contact_sheet" : "loss_curve", instance, output, arguments);
      return;
    }
    const HostImage preview(instance.clip(shown_clip(instance, time)), time);
    // Some hosts call an unconnected clip connected and deliver no picture, or a black one.
    const bool has_preview = preview && !is_black(preview.view(), preview.view().bounds);
    const HostImage input(has_preview ? nullptr : instance.clip(input_clip(instance)), time);
    const HostImage& picture = has_preview ? preview : input;
    if (!picture) {
      copy_or_clear(picture.view(), output.view(), arguments.window, arguments.rows);
      return;
    }
    const Json answer =
        apply_model(instance, about_run("preview", instance.parameters, time), picture, output, arguments);
    post_status(instance, answer);
  }

  void sequence(Instance&, OfxTime, bool) const override {}

  void changed(Instance& instance, const Edit& edit) const override {
    const Parameters& parameters = instance.parameters;
    const std::string& name = edit.parameter;
    const OfxTime time = edit.time;
    if (name == "preset") parameters.apply_preset(parameters.text("preset", time));  // and shows the status
    if (name == "addTrainingFrame") {
      parameters.set_text("trainingFrames", with_frame(parameters.text("trainingFrames", time), time), time);
    } else if (name == "startTraining") {
      show_status(instance, start_training(instance, edit), time);
    } else if (name == "updateTrainingFrames") {
      show_status(instance, update_training_frames(instance, edit), time);
    } else if (name == "updatePictures") {
      show_status(instance, update_pictures(instance, edit, about_run("pictures", parameters, time)), time);
    } else if (const char* request = request_of(name)) {
      show_status(instance, ask(instance, request, time), time);
    } else if (name == "openProgress") {
      show_status(instance, ask(instance, "open_progress", time), time);
    } else if (name == "createInference") {
      const std::string model = ask(instance, "newest_model", time)["model"].text();
      show_message(instance.effect, kOfxMessageMessage, "Model File for an Inference node: " + model);
    } else if (worker()->is_ready() && !parameters.text("dataDirectory", time).empty()) {
      refresh(instance, time);
    }
  }

 private:
  static Json ask(Instance& instance, const char* what, OfxTime time) {
    return ask_behind_bar(instance.effect, about_run(what, instance.parameters, time));
  }

  // Errors go to the node only: a dialog at every edit of a knob would be in the way.
  static void refresh(Instance& instance, OfxTime time) try {
    if (const auto status = instance.status.ask(about_run("status", instance.parameters, time)))
      show_status(instance, *status, time);
    else
      instance.post(kOfxMessageMessage, "The copycat worker is busy: the status follows.");
  } catch (const std::exception& error) {
    instance.post(kOfxMessageError, error.what());
  }

  static void post_status(Instance& instance, const Json& status) {
    instance.post(status["failed"].boolean() ? kOfxMessageError : kOfxMessageMessage,
                  status["status"].text());
  }

  // Only in InstanceChanged, where parameters may be set.
  static void show_status(Instance& instance, const Json& status, OfxTime time) {
    instance.status.forget();
    if (status.has("training_info"))
      instance.parameters.set_text("trainingInfo", status["training_info"].text(), time);
    if (status.has("run_table")) instance.parameters.set_text("runTable", status["run_table"].text(), time);
    if (status.has("can_resume"))
      instance.parameters.set_enabled("resumeTraining", status["can_resume"].boolean());
    instance.parameters.show_on_node(without_run(status["failed"].boolean() ? "" : status["status"].text()),
                                     time);
    post_status(instance, status);
  }

  // The worker draws the active run's contact sheet or all runs' curves, in the size of the output.
  static void draw(const char* what, Instance& instance, const HostImage& output,
                   const RenderArguments& arguments) {
    const PixelView& to = output.view();
    const Json answer = ask_for_picture(
        instance, about_run(what, instance.parameters, arguments.time), to.bounds, to.format,
        [](const PixelView&) {},
        [&](const PixelView& shared) { copy_or_clear(shared, to, arguments.window, arguments.rows); });
    post_status(instance, answer);
  }
};

}  // namespace

Effect& copycat_effect() {
  static CopyCatEffect effect;
  return effect;
}

}  // namespace copycat
