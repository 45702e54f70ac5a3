// The actions of the OpenFX image effect API that both effects answer alike.
#include "effect.h"

#include <climits>
#include <memory>
#include <new>

#include "gpu_name.h"

namespace copycat {
namespace {

std::atomic<int> g_instances{0};

constexpr const char* kDepths[] = {kOfxBitDepthFloat, kOfxBitDepthHalf, kOfxBitDepthShort, kOfxBitDepthByte};
constexpr const char* kComponents[] = {kOfxImageComponentRGBA, kOfxImageComponentRGB,
                                       kOfxImageComponentAlpha};

const std::string& described_gpu_name() {
  static const std::string name = gpu_name(true, "Auto");
  return name;
}

Instance* instance_of(OfxImageEffectHandle effect) {
  return static_cast<Instance*>(effect_properties(effect).pointer(kOfxPropInstanceData));
}

OfxParamSetHandle parameter_set(OfxImageEffectHandle effect) {
  OfxParamSetHandle params = nullptr;
  if (suites().effect->getParamSet(effect, &params) != kOfxStatOK) return nullptr;
  return params;
}

// A proxy's scale; both sides differ only by the pixel aspect ratio.
double scale_of(Properties in) {
  const double x = in.number(kOfxImageEffectPropRenderScale, 1, 0);
  return x != 1 ? x : in.number(kOfxImageEffectPropRenderScale, 1, 1);
}

// A clip's region of definition; false where it has none, or an infinite one like a constant colour.
bool region_of_clip(OfxImageClipHandle clip, OfxTime time, OfxRectD& region) {
  if (!clip || suites().effect->clipGetRegionOfDefinition(clip, time, &region) != kOfxStatOK) return false;
  return region.x2 > region.x1 && region.y2 > region.y1 && region.x1 > INT_MIN && region.y1 > INT_MIN &&
         region.x2 < INT_MAX && region.y2 < INT_MAX;
}

Rows rows_of_field(const std::string& field) {
  if (field == kOfxImageFieldLower) return Rows::even;
  if (field == kOfxImageFieldUpper) return Rows::odd;
  return Rows::all;
}

// Shows the exception that is being handled on the node.
OfxStatus failed(Instance& instance) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    instance.post(kOfxMessageError, "copycat: no memory left for this picture");
    return kOfxStatErrMemory;
  } catch (const std::exception& error) {
    instance.post(kOfxMessageError, error.what());
    return kOfxStatFailed;
  }
}

}  // namespace

Instance::Instance(OfxImageEffectHandle handle, const KnobTable& table)
    : effect(handle), parameters(parameter_set(handle), table) {}

OfxImageClipHandle Instance::clip(const char* name) const {
  OfxImageClipHandle handle = nullptr;
  if (suites().effect->clipGetHandle(effect, name, &handle, nullptr) != kOfxStatOK) return nullptr;
  return handle;
}

bool Instance::is_connected(const char* name) const {
  OfxPropertySetHandle properties = nullptr;
  const OfxImageClipHandle handle = clip(name);
  if (!handle || suites().effect->clipGetPropertySet(handle, &properties) != kOfxStatOK) return false;
  return Properties(properties).integer(kOfxImageClipPropConnected) != 0;
}

Aborted Instance::aborted() const {
  return [handle = effect] { return suites().effect->abort && suites().effect->abort(handle) != 0; };
}

void Instance::post(const char* type, const std::string& text) {
  {
    std::lock_guard lock(mutex);
    if (text == posted) return;
    posted = text;
  }
  set_persistent_message(effect, type, text);  // without the mutex: a host may redraw at once and call back
}

const char* input_clip(const Instance& instance) {
  const std::string context = effect_properties(instance.effect).text(kOfxImageEffectPropContext);
  if (context == kOfxImageEffectContextFilter) return kOfxImageEffectSimpleSourceClipName;
  // Where the host does not name the context, the clips do.
  return instance.clip("Input") ? "Input" : kOfxImageEffectSimpleSourceClipName;
}

OfxStatus Effect::answer(const char* action, const void* handle, OfxPropertySetHandle in,
                         OfxPropertySetHandle out) noexcept {
  // The API passes the host's handles as const.
  const auto effect = static_cast<OfxImageEffectHandle>(const_cast<void*>(handle));
  try {
    return action ? dispatch(action, effect, Properties(in), Properties(out)) : kOfxStatErrBadHandle;
  } catch (const std::bad_alloc&) {
    return kOfxStatErrMemory;
  } catch (...) {
    return kOfxStatFailed;
  }
}

OfxStatus Effect::dispatch(const std::string& action, OfxImageEffectHandle effect, Properties in,
                           Properties out) {
  if (action == kOfxActionLoad) return fetch_suites() ? kOfxStatOK : kOfxStatErrMissingHostFeature;
  if (!has_suites()) return kOfxStatErrMissingHostFeature;
  if (action == kOfxActionUnload) {
    if (g_instances == 0) end_worker();
    return kOfxStatOK;
  }
  if (action == kOfxActionPurgeCaches) {
    purge_worker();
    return kOfxStatOK;
  }
  if (!effect) return kOfxStatErrBadHandle;
  if (action == kOfxActionDescribe) {
    describe(effect);
    return kOfxStatOK;
  }
  if (action == kOfxImageEffectActionDescribeInContext) {
    return describe_in_context(effect, in.text(kOfxImageEffectPropContext, kOfxImageEffectContextFilter));
  }
  if (action == kOfxActionCreateInstance) return create(effect);
  if (action == kOfxActionDestroyInstance) return destroy(effect);

  const bool answered =
      action == kOfxImageEffectActionGetRegionOfDefinition ||
      action == kOfxImageEffectActionGetRegionsOfInterest || action == kOfxImageEffectActionGetFramesNeeded ||
      action == kOfxImageEffectActionIsIdentity || action == kOfxImageEffectActionRender ||
      action == kOfxActionInstanceChanged || action == kOfxImageEffectActionBeginSequenceRender ||
      action == kOfxImageEffectActionEndSequenceRender;
  if (!answered) return kOfxStatReplyDefault;
  Instance* instance = instance_of(effect);
  if (!instance) return kOfxStatErrBadHandle;  // the host went on although CreateInstance had failed
  if (action == kOfxImageEffectActionRender) return render_action(*instance, in);
  if (action == kOfxImageEffectActionBeginSequenceRender) return sequence_action(*instance, in, true);
  if (action == kOfxImageEffectActionEndSequenceRender) return sequence_action(*instance, in, false);
  if (action == kOfxActionInstanceChanged) return instance_changed(*instance, in);
  if (action == kOfxImageEffectActionIsIdentity) return identity(*instance, in, out);
  if (action == kOfxImageEffectActionGetRegionOfDefinition) return region_of_definition(*instance, in, out);
  if (action == kOfxImageEffectActionGetRegionsOfInterest) return regions_of_interest(*instance, in, out);
  return frames_needed(*instance, in, out);
}

void Effect::describe(OfxImageEffectHandle effect) const {
  const Properties p = effect_properties(effect);
  const Description about = description();
  p.set(kOfxPropLabel, about.label);
  p.set(kOfxPropShortLabel, about.label);
  p.set(kOfxPropLongLabel, about.label);
  p.set(kOfxImageEffectPluginPropGrouping, "copycat");
  p.set(kOfxPropPluginDescription, about.text);
  for (int i = 0; i < 3; ++i) p.set(kOfxPropVersion, kVersionNumbers[i], i);
  p.set(kOfxPropVersionLabel, kVersion);
  p.set(kOfxImageEffectPropSupportedContexts, kOfxImageEffectContextGeneral, 0);
  p.set(kOfxImageEffectPropSupportedContexts, kOfxImageEffectContextFilter, 1);
  int index = 0;
  for (const char* depth : kDepths) p.set(kOfxImageEffectPropSupportedPixelDepths, depth, index++);
  p.set(kOfxImageEffectPluginPropSingleInstance, 0);
  p.set(kOfxImageEffectPluginRenderThreadSafety, kOfxImageEffectRenderInstanceSafe);
  p.set(kOfxImageEffectPluginPropHostFrameThreading, 0);
  p.set(kOfxImageEffectPropSupportsMultiResolution, 1);
  p.set(kOfxImageEffectPropSupportsTiles, 0);
  p.set(kOfxImageEffectPropTemporalClipAccess, about.is_temporal ? 1 : 0);
  p.set(kOfxImageEffectPluginPropFieldRenderTwiceAlways, 0);
  p.set(kOfxImageEffectPropSupportsMultipleClipDepths, 0);
  p.set(kOfxImageEffectPropSupportsMultipleClipPARs, 0);
}

OfxStatus Effect::describe_in_context(OfxImageEffectHandle effect, const std::string& context) const {
  const bool general = context == kOfxImageEffectContextGeneral;
  if (!general && context != kOfxImageEffectContextFilter) return kOfxStatErrUnsupported;
  std::vector<ClipRow> rows = clips(general);
  rows.push_back({kOfxImageEffectOutputClipName, "Output", false});
  for (const ClipRow& row : rows) {
    OfxPropertySetHandle handle = nullptr;
    if (suites().effect->clipDefine(effect, row.name, &handle) != kOfxStatOK) continue;
    const Properties p(handle);
    p.set(kOfxPropLabel, row.label);
    int index = 0;
    for (const char* components : kComponents)
      p.set(kOfxImageEffectPropSupportedComponents, components, index++);
    p.set(kOfxImageClipPropOptional, row.optional ? 1 : 0);
    p.set(kOfxImageClipPropIsMask, 0);
    p.set(kOfxImageEffectPropSupportsTiles, 0);
    p.set(kOfxImageEffectPropTemporalClipAccess, description().is_temporal ? 1 : 0);
  }
  if (const OfxParamSetHandle params = parameter_set(effect))
    define_parameters(params, knobs(), described_gpu_name());
  return kOfxStatOK;
}

OfxStatus Effect::create(OfxImageEffectHandle effect) {
  const Properties properties = effect_properties(effect);
  if (!properties) return kOfxStatErrBadHandle;
  auto instance = std::make_unique<Instance>(effect, knobs());
  properties.set_pointer(kOfxPropInstanceData, instance.get());
  if (instance_of(effect) != instance.get()) return kOfxStatFailed;  // the host did not keep it
  instance.release();
  ++g_instances;
  return kOfxStatOK;
}

OfxStatus Effect::destroy(OfxImageEffectHandle effect) {
  if (Instance* instance = instance_of(effect)) {
    effect_properties(effect).set_pointer(kOfxPropInstanceData, nullptr);
    delete instance;
    --g_instances;
  }
  return kOfxStatOK;
}

OfxStatus Effect::region_of_definition(const Instance& instance, Properties in, Properties out) const {
  const OfxTime time = in.number(kOfxPropTime);
  OfxRectD region{};
  if (!region_of_clip(instance.clip(shown_clip(instance, time)), time, region)) return kOfxStatReplyDefault;
  out.set(kOfxImageEffectPropRegionOfDefinition, region);
  return kOfxStatOK;
}

// A network needs the whole picture, whatever part is rendered.
OfxStatus Effect::regions_of_interest(const Instance& instance, Properties in, Properties out) const {
  const OfxTime time = in.number(kOfxPropTime);
  const std::string name = shown_clip(instance, time);
  OfxRectD region{};
  if (!region_of_clip(instance.clip(name.c_str()), time, region)) return kOfxStatReplyDefault;
  out.set(("OfxImageClipPropRoI_" + name).c_str(), region);
  return kOfxStatOK;
}

OfxStatus Effect::frames_needed(const Instance& instance, Properties in, Properties out) const {
  const OfxTime time = in.number(kOfxPropTime);
  const std::string property = std::string("OfxImageClipPropFrameRange_") + shown_clip(instance, time);
  out.set(property.c_str(), time, 0);
  out.set(property.c_str(), time, 1);
  return kOfxStatOK;
}

OfxStatus Effect::identity(Instance& instance, Properties in, Properties out) const {
  const OfxTime time = in.number(kOfxPropTime);
  if (!is_identity(instance, time)) return kOfxStatReplyDefault;
  out.set(kOfxPropName, shown_clip(instance, time));
  out.set(kOfxPropTime, time);
  return kOfxStatOK;
}

OfxStatus Effect::render_action(Instance& instance, Properties in) const {
  const RenderArguments arguments{
      in.number(kOfxPropTime), scale_of(in),
      in.rectangle(kOfxImageEffectPropRenderWindow, {INT_MIN, INT_MIN, INT_MAX, INT_MAX}),
      rows_of_field(in.text(kOfxImageEffectPropFieldToRender, kOfxImageFieldNone))};
  try {
    render(instance, arguments);
    return kOfxStatOK;
  } catch (const Cancelled&) {
    return kOfxStatOK;  // the host discards the picture
  } catch (...) {
    // A host that has aborted may refuse pictures: no error.
    if (instance.aborted()()) return kOfxStatOK;
    return failed(instance);
  }
}

OfxStatus Effect::sequence_action(Instance& instance, Properties in, bool begins) const {
  try {
    sequence(instance, in.number(kOfxImageEffectPropFrameRange), begins);
    return kOfxStatOK;
  } catch (const Cancelled&) {
    return kOfxStatOK;
  } catch (...) {
    return failed(instance);
  }
}

OfxStatus Effect::instance_changed(Instance& instance, Properties in) const {
  // PluginEdited is this plugin's own doing, and loading a project changes clips: the user did neither.
  if (in.text(kOfxPropChangeReason) != kOfxChangeUserEdited || in.text(kOfxPropType) != kOfxTypeParameter)
    return kOfxStatReplyDefault;
  // Some hosts report the plugin's changes as UserEdited, or let the user press buttons behind a progress
  // bar.
  if (instance.changing.exchange(true)) return kOfxStatReplyDefault;
  const std::unique_ptr<std::atomic<bool>, void (*)(std::atomic<bool>*)> done(
      &instance.changing, [](std::atomic<bool>* changing) { *changing = false; });
  const Edit edit{in.text(kOfxPropName), in.number(kOfxPropTime), scale_of(in)};
  try {
    if (edit.parameter == "useGPUIfAvailable" || edit.parameter == "gpuIndex") {
      const Parameters& p = instance.parameters;
      const std::string gpu =
          gpu_name(p.is_on("useGPUIfAvailable", edit.time), p.text("gpuIndex", edit.time));
      p.set_text("gpuName", gpu, edit.time);
    }
    changed(instance, edit);
    return kOfxStatOK;
  } catch (const Cancelled&) {
    instance.post(kOfxMessageMessage, "");
    return kOfxStatOK;
  } catch (const std::exception& error) {
    // One message for a press: a dialog, which the user has to see, or else a text on the node.
    if (is_in_background() || !can_show_messages())
      instance.post(kOfxMessageError, error.what());
    else
      show_message(instance.effect, kOfxMessageError, error.what());
    return kOfxStatFailed;
  }
}

}  // namespace copycat
