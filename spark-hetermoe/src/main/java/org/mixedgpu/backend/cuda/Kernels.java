package org.mixedgpu.backend.cuda;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/** The kernels of one device: compiled at first use, kept on disk and in memory. */
final class Kernels {
  /** CUfunction hides its address from all but its subclasses. */
  static final class Function extends CUfunction {
    long address() {
      return getNativePointer();
    }
  }

  private record ModuleKey(String file, DType type, List<String> defines) {}

  private record KernelKey(ModuleKey module, String function) {}

  private final CudaDevice device;
  private final Nvrtc nvrtc;
  private final KernelCache cache;
  private final Map<ModuleKey, CUmodule> modules = new ConcurrentHashMap<>();
  private final Map<KernelKey, Kernel> kernels = new ConcurrentHashMap<>();

  /** Those without defines by file, function and type: found without making a key. */
  private final Map<String, Map<String, Kernel[]>> plain = new ConcurrentHashMap<>();

  Kernels(CudaDevice device, Nvrtc nvrtc, KernelCache cache) {
    this.device = device;
    this.nvrtc = nvrtc;
    this.cache = cache;
  }

  /** A kernel for this device, of a file without defines; allocates nothing but the first time. */
  Kernel get(String file, String function, DType type) {
    Map<String, Kernel[]> functions = plain.get(file);
    Kernel[] byType = functions == null ? null : functions.get(function);
    Kernel found = byType == null ? null : byType[type.ordinal()];
    return found == null ? first(file, function, type) : found;
  }

  private Kernel first(String file, String function, DType type) {
    Kernel found = get(file, function, type, new String[0]);
    plain.computeIfAbsent(file, name -> new ConcurrentHashMap<>())
            .computeIfAbsent(function, name -> new Kernel[DType.values().length])[type.ordinal()] =
        found;
    return found;
  }

  /**
   * A kernel for this device. A look-up makes a key of its arguments and hashes it.
   *
   * @param file name of the resource without {@code .cu}; a variant has its suffix, such as {@code
   *     attention.sm90}
   * @param function an {@code extern "C"} name in it
   * @param type F32, BF16 or F16: what T is in the file
   * @param defines such as {@code HEAD=128}
   */
  Kernel get(String file, String function, DType type, String... defines) {
    ModuleKey module = new ModuleKey(file, type, List.of(defines));
    KernelKey key = new KernelKey(module, function);
    Kernel found = kernels.get(key);
    return found == null ? kernels.computeIfAbsent(key, this::find) : found;
  }

  private Kernel find(KernelKey key) {
    device.makeCurrent();
    Function function = new Function();
    device.check(
        JCudaDriver.cuModuleGetFunction(
            function, modules.computeIfAbsent(key.module, this::load), key.function),
        "cuModuleGetFunction",
        key.function + " of " + key.module);
    return new Kernel(device, key.module.file + "." + key.function, function);
  }

  private CUmodule load(ModuleKey key) {
    KernelSource source = KernelSource.of(key.file, device.arch(), key.type, key.defines);
    if (device.isOlderThanTheCard()) {
      source = source.portable(nvrtc.lowestArch());
    }
    return load(key, source);
  }

  private CUmodule load(ModuleKey key, KernelSource source) {
    byte[] cubin = cache.get(source, () -> compile(source));
    CUmodule module = new CUmodule();
    device.check(
        JCudaDriver.cuModuleLoadData(module, cubin),
        "cuModuleLoadData",
        key.file + ".cu with " + source.options() + ", " + cubin.length + " bytes");
    return module;
  }

  private byte[] compile(KernelSource source) {
    try {
      return nvrtc.compile(source);
    } catch (MixedGpuException e) {
      throw new MixedGpuException(e.fault(), device + ": " + e.getMessage(), e);
    }
  }

  void close() {
    plain.clear();
    kernels.clear();
    modules.forEach(
        (key, module) ->
            device.check(JCudaDriver.cuModuleUnload(module), "cuModuleUnload", key.file + ".cu"));
    modules.clear();
  }
}
