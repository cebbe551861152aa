package org.mixedgpu.backend.cuda;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.ComputeCapability;
import org.mixedgpu.tensor.DType;

/**
 * One GPU, opened: its context, memory, streams and kernels. Ops run on the calling thread's
 * stream: a lane's on its lane, all others on the default stream.
 */
final class CudaDevice implements AutoCloseable {
  private static final ComputeCapability OLDEST = new ComputeCapability(7, 0);
  private static final ComputeCapability OLDEST_BF16 = new ComputeCapability(8, 0);
  private static final AtomicInteger COUNT = new AtomicInteger();

  /** CUdevice hides its number from all but its subclasses. */
  private static final class Handle extends CUdevice {
    int ordinal() {
      return (int) getNativePointer();
    }
  }

  /**
   * What distinguishes a generation for kernels.
   *
   * @param sharedBytesPerBlock the most shared memory of a block
   */
  record Generation(ComputeCapability capability, int sharedBytesPerBlock) {}

  private final Handle handle = new Handle();
  private final CUcontext context = new CUcontext();
  private final int driverVersion;

  /** Number or PCI bus id. */
  private final String asked;

  private final String model;
  private final ComputeCapability card;
  private final ComputeCapability capability;
  private final DType computeType;
  private final int multiprocessors;
  private final int sharedBytesPerBlock;
  private final Nvrtc nvrtc;
  private final LongAdder launches = new LongAdder();
  private final AtomicInteger left = new AtomicInteger();
  private final CudaEvents events = new CudaEvents(this, CUevent_flags.CU_EVENT_DISABLE_TIMING);
  private final CudaEvents timers = new CudaEvents(this, CUevent_flags.CU_EVENT_DEFAULT);
  private final CudaMemory memory;
  private final CudaStreams streams;
  private final CudaFaults faults;
  private final Kernels kernels;
  private volatile boolean closed;

  CudaDevice(CudaOptions options) {
    this(options, Optional.empty());
  }

  /**
   * @param olderGeneration kernels are chosen and compiled as for this one, which must not be newer
   *     than the GPU: for tests of other cards' kernels
   */
  CudaDevice(CudaOptions options, Optional<Generation> olderGeneration) {
    CudaDriver.require(CudaDriver.LIBRARY);
    Path cacheFolder = KernelCache.folder(options.cacheDirectory());
    driverVersion = CudaDriver.open();
    asked = options.device();
    find(asked);
    model = model();
    card =
        new ComputeCapability(
            attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
    capability = olderGeneration.map(Generation::capability).orElse(card);
    checkUsable();
    computeType = computeType(options.computeType());
    multiprocessors = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    sharedBytesPerBlock =
        olderGeneration
            .map(Generation::sharedBytesPerBlock)
            .orElseGet(
                () ->
                    attribute(
                        CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
    CudaLibraries libraries = CudaLibraries.ofThisProcess();
    nvrtc = new Nvrtc(libraries.open("NVRTC", libraryNames("nvrtc")));
    if (!isOlderThanTheCard()) {
      nvrtc.require(arch(), this);
    }
    CublasLt.bind(libraries.open("cuBLASLt", libraryNames("cublasLt")));
    long[] bytes = new long[1];
    check(JCudaDriver.cuDeviceTotalMem(bytes, handle), "cuDeviceTotalMem", "");
    long limit = Math.min(options.memoryLimitBytes(), bytes[0]);
    kernels = new Kernels(this, nvrtc, new KernelCache(cacheFolder, "NVRTC " + nvrtc.version()));
    check(JCudaDriver.cuDevicePrimaryCtxRetain(context, handle), "cuDevicePrimaryCtxRetain", "");
    CudaStreams opened = null;
    try {
      makeCurrent();
      memory = new CudaMemory(this, "cuda-" + COUNT.incrementAndGet(), limit);
      opened = new CudaStreams(this);
      streams = opened;
      faults = new CudaFaults(this, streams.standard());
    } catch (RuntimeException e) {
      if (opened != null) {
        closing(e, opened::close);
      }
      JCudaDriver.cuDevicePrimaryCtxRelease(handle);
      throw e;
    }
  }

  /** The failure, once what was opened before it is closed; tells of a failure of that too. */
  static RuntimeException closing(RuntimeException failure, Runnable close) {
    try {
      close.run();
    } catch (RuntimeException e) {
      failure.addSuppressed(e);
    }
    return failure;
  }

  private void find(String device) {
    if (device.indexOf(':') >= 0) {
      check(
          JCudaDriver.cuDeviceGetByPCIBusId(handle, device),
          "cuDeviceGetByPCIBusId",
          "CUDA_VISIBLE_DEVICES is " + visible());
      return;
    }
    int[] count = new int[1];
    check(JCudaDriver.cuDeviceGetCount(count), "cuDeviceGetCount", "");
    int index = Integer.parseInt(device);
    if (index >= count[0]) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "There is no GPU %d: CUDA sees %d, counted from 0 (CUDA_VISIBLE_DEVICES is %s);"
                  + " choose one of them or use the backend cpu",
              index, count[0], visible()));
    }
    check(JCudaDriver.cuDeviceGet(handle, index), "cuDeviceGet", "");
  }

  private static String visible() {
    String value = System.getenv("CUDA_VISIBLE_DEVICES");
    return value == null ? "not set" : "'" + value + "'";
  }

  private String model() {
    byte[] name = new byte[256];
    check(JCudaDriver.cuDeviceGetName(name, name.length, handle), "cuDeviceGetName", "");
    int length = 0;
    while (length < name.length && name[length] != 0) {
      length++;
    }
    return new String(name, 0, length, StandardCharsets.UTF_8);
  }

  private int attribute(int attribute) {
    int[] value = new int[1];
    check(
        JCudaDriver.cuDeviceGetAttribute(value, attribute, handle),
        "cuDeviceGetAttribute",
        "attribute " + attribute);
    return value[0];
  }

  private void checkUsable() {
    if (capability.compareTo(OLDEST) < 0) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The CUDA backend needs a GPU of compute capability %s or later; found %s; use"
                  + " another GPU or the backend cpu",
              OLDEST, this));
    }
    if (attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) == 0) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The CUDA backend needs stream-ordered memory pools, which %s does not have here;"
                  + " virtual GPUs often lack them: use a whole GPU or the backend cpu",
              this));
    }
  }

  private DType computeType(DType asked) {
    boolean bf16 = capability.compareTo(OLDEST_BF16) >= 0;
    Check.input(
        bf16 || asked != DType.BF16,
        "%s has no BF16 arithmetic, which starts with compute capability %s; use precision fp16 or"
            + " fp32 there",
        this,
        OLDEST_BF16);
    return asked != null ? asked : bf16 ? DType.BF16 : DType.F16;
  }

  // --- what it is -----------------------------------------------------------------------------

  int ordinal() {
    return handle.ordinal();
  }

  /** Where the GPU is plugged in, such as {@code 0000:19:00.0}. */
  String busId() {
    String[] text = new String[1];
    check(JCudaDriver.cuDeviceGetPCIBusId(text, 32, handle), "cuDeviceGetPCIBusId", "");
    return text[0];
  }

  ComputeCapability capability() {
    return capability;
  }

  /** Whether kernels are compiled for an older generation than the GPU's. */
  boolean isOlderThanTheCard() {
    return !capability.equals(card);
  }

  /** The capability times ten, such as 90. */
  int arch() {
    return arch(capability);
  }

  private static int arch(ComputeCapability capability) {
    return 10 * capability.major() + capability.minor();
  }

  int multiprocessors() {
    return multiprocessors;
  }

  /**
   * Leaves so many more of the multiprocessors to others, or fewer where negative. A kernel whose
   * blocks each take one piece of work after another, and stay, takes twice as long where one of
   * them finds its multiprocessor taken; see {@link #ownMultiprocessors}.
   */
  void leave(int more) {
    left.addAndGet(more);
  }

  /** For kernels that have a block on each: all, less what is left to others, at least half. */
  int ownMultiprocessors() {
    return multiprocessors - Math.min(left.get(), multiprocessors / 2);
  }

  /** The most shared memory that a block may have, where it asks for it. */
  int sharedBytesPerBlock() {
    return sharedBytesPerBlock;
  }

  /** Kernels queued so far, a product of cuBLASLt counting as one. */
  LongAdder launches() {
    return launches;
  }

  /** F32, BF16 or F16. */
  DType computeType() {
    return computeType;
  }

  /** For reports, such as {@code NVIDIA H200, bf16, CUDA 13.0, NVRTC 13.0}. */
  String summary() {
    return String.format(
        "%s, %s, CUDA %s, NVRTC %s",
        model,
        computeType == DType.F32
            ? "fp32"
            : computeType == DType.F16 ? "fp16" : computeType.name().toLowerCase(Locale.ROOT),
        CudaDriver.text(driverVersion),
        nvrtc.version());
  }

  /** File names of one of CUDA's libraries that suit this driver and GPU, best first. */
  private List<String> libraryNames(String name) {
    return CudaDriver.libraries(name, driverVersion, arch(card));
  }

  // --- what it has ----------------------------------------------------------------------------

  CudaMemory memory() {
    return memory;
  }

  Kernels kernels() {
    return kernels;
  }

  /** For order alone, which is cheaper than time. */
  CudaEvents events() {
    return events;
  }

  /** Events that note the time. */
  CudaEvents timers() {
    return timers;
  }

  /** For kernels that check an index: the address is what they get as {@code faults}. */
  CudaFaults faults() {
    return faults;
  }

  CudaStreams streams() {
    return streams;
  }

  /** Of the calling thread. */
  CudaStream current() {
    return streams.current();
  }

  /** The CUstream of the calling thread. */
  long stream() {
    return current().address();
  }

  /**
   * For the next launch of the calling thread, none of them written yet. Scratch memory is asked
   * for before, because making some uses the same memory.
   */
  LaunchArguments arguments() {
    return current().arguments().start();
  }

  /** Of the calling thread's stream. */
  CudaScratch scratch() {
    return current().scratch();
  }

  // --- calls ----------------------------------------------------------------------------------

  /** Every thread that calls the driver for this device must have done this last. */
  void makeCurrent() {
    check(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent", "");
  }

  /**
   * Throws unless the call succeeded.
   *
   * @param context what was asked for, with sizes
   */
  void check(int result, String call, Object context) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw failed(result, call, String.valueOf(context));
    }
  }

  MixedGpuException failed(int result, String call, String context) {
    return CudaDriver.failed(result, call, this + (context.isEmpty() ? "" : ", " + context));
  }

  /** Blocks until all streams are done. */
  void synchronizeAll() {
    check(JCudaDriver.cuCtxSynchronize(), "cuCtxSynchronize", "");
  }

  boolean closed() {
    return closed;
  }

  /**
   * Releases the GPU. {@code BUG} if tensors are still open, whose memory comes back when no other
   * backend of this process uses the GPU.
   */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    makeCurrent();
    synchronizeAll();
    faults.close(streams.standard());
    streams.close();
    kernels.close();
    events.close();
    timers.close();
    closed = true;
    try {
      memory.close();
    } finally {
      check(JCudaDriver.cuDevicePrimaryCtxRelease(handle), "cuDevicePrimaryCtxRelease", "");
    }
  }

  @Override
  public String toString() {
    return capability == null
        ? "GPU " + (model == null ? asked : model)
        : "GPU " + ordinal() + " (" + model + ", compute capability " + capability + ")";
  }
}
