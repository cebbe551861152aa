package org.mixedgpu.hetermoe.spark.device;

import java.util.List;
import java.util.Optional;
import org.apache.spark.SparkConf;
import org.apache.spark.api.resource.ResourceDiscoveryPlugin;
import org.apache.spark.resource.ResourceInformation;
import org.apache.spark.resource.ResourceRequest;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.device.GpuInventory;
import org.mixedgpu.device.GpuInventory.Gpu;
import org.mixedgpu.hetermoe.spark.HadoopSettings;
import org.mixedgpu.hetermoe.spark.HeterMoeConf;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds GPUs by generation: resource {@code gpu-hopper} gets the indices of the Hopper GPUs,
 * resource {@code gpu} gets all as {@code hopper-0}, which is what barrier gangs need. Other
 * resources are left to Spark's script plugin. Set {@code
 * spark.resources.discoveryPlugin=org.mixedgpu.hetermoe.spark.device.GpuDiscovery}; it runs before
 * {@code --jars} are fetched, so the jar must be on the class path of Workers or executors.
 * Emulated GPUs come from {@code spark.hetermoe.emulatedGpus} or the environment's {@code
 * HETERMOE_EMULATED_GPUS}. Generations are those of {@code spark.hetermoe.gpuCatalogue}, as the
 * Worker or executor has it; a GPU of another is left out with a warning.
 */
public final class GpuDiscovery implements ResourceDiscoveryPlugin {
  private static final Logger LOG = LoggerFactory.getLogger(GpuDiscovery.class);
  private static final String PREFIX = "gpu-";

  @Override
  public Optional<ResourceInformation> discoverResource(ResourceRequest request, SparkConf conf) {
    String name = request.id().resourceName();
    if (!name.equals("gpu") && !name.startsWith(PREFIX)) {
      return Optional.empty();
    }
    GpuCatalogue catalogue =
        ChosenCatalogue.read(
            HeterMoeConf.GPU_CATALOGUE.value(conf.get(HeterMoeConf.GPU_CATALOGUE.key(), "")),
            HadoopSettings.store(conf));
    String emulated =
        conf.get(
            HeterMoeConf.EMULATED_GPUS.key(),
            System.getenv().getOrDefault("HETERMOE_EMULATED_GPUS", ""));
    GpuInventory inventory =
        emulated.isBlank()
            ? GpuInventory.ofThisMachine(catalogue)
            : GpuInventory.emulated(emulated, catalogue);
    // To the log, which is stderr where Spark's defaults hold.
    inventory.unknown().forEach(LOG::warn);
    List<String> addresses;
    if (name.equals("gpu")) {
      addresses = inventory.gpus().stream().map(Gpu::generationAddress).toList();
    } else {
      String generation = name.substring(PREFIX.length());
      catalogue.checkGeneration(generation);
      addresses = inventory.ofGeneration(generation).stream().map(g -> "" + g.index()).toList();
    }
    if (addresses.size() < request.amount()) {
      throw new MixedGpuException(
          Fault.MISSING,
          "Resource "
              + name
              + ": "
              + request.amount()
              + " asked for, "
              + addresses.size()
              + " found; this machine has "
              + inventory.gpus()
              + " "
              + String.join("; ", inventory.unknown()));
    }
    LOG.info("Resource {}: {}{}", name, addresses, emulated.isBlank() ? "" : " (emulated)");
    return Optional.of(new ResourceInformation(name, addresses.toArray(new String[0])));
  }
}
