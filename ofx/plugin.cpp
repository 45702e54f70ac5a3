// The entry points of the bundle and its two plugins.
#include "abi.h"
#include "effect.h"

#define COPYCAT_EXPORT extern "C" __attribute__((visibility("default")))

static_assert(sizeof(void*) != 8 ||
                  (sizeof(OfxHost) == 16 && sizeof(OfxPlugin) == 48 && sizeof(OfxPropertySuiteV1) == 144 &&
                   sizeof(OfxImageEffectSuiteV1) == 104 && sizeof(OfxParameterSuiteV1) == 144 &&
                   sizeof(OfxMessageSuiteV2) == 24 && sizeof(OfxProgressSuiteV2) == 24 &&
                   sizeof(OfxTimeLineSuiteV1) == 24),
              "the structs of abi.h are not the host's");

namespace {

void set_host(OfxHost* host) { copycat::set_host(host); }

OfxStatus copycat_main(const char* action, const void* handle, OfxPropertySetHandle in,
                       OfxPropertySetHandle out) {
  return copycat::copycat_effect().answer(action, handle, in, out);
}

OfxStatus inference_main(const char* action, const void* handle, OfxPropertySetHandle in,
                         OfxPropertySetHandle out) {
  return copycat::inference_effect().answer(action, handle, in, out);
}

OfxPlugin g_plugins[] = {
    {kOfxImageEffectPluginApi, kOfxImageEffectPluginApiVersion, "org.copycat.CopyCat", 1, 0, set_host,
     copycat_main},
    {kOfxImageEffectPluginApi, kOfxImageEffectPluginApiVersion, "org.copycat.Inference", 1, 0, set_host,
     inference_main},
};
constexpr int kPlugins = 2;

}  // namespace

COPYCAT_EXPORT OfxStatus OfxSetHost(const OfxHost*) { return kOfxStatOK; }

COPYCAT_EXPORT int OfxGetNumberOfPlugins(void) { return kPlugins; }

COPYCAT_EXPORT OfxPlugin* OfxGetPlugin(int nth) {
  return nth >= 0 && nth < kPlugins ? &g_plugins[nth] : nullptr;
}
