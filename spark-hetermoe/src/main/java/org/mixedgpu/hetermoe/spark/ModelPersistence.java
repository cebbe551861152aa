package org.mixedgpu.hetermoe.spark;

import java.nio.ByteBuffer;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsWriter;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.ml.util.MLWriter;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.io.RangeReader;
import scala.Option;

/**
 * Saves and loads a {@link HeterMoeModel}: its params as Spark does, its files in {@code model}.
 */
final class ModelPersistence {
  private static final String FILES = "model";
  private static final int COPY_BYTES = 1 << 22;

  private ModelPersistence() {}

  static final class Writer extends MLWriter {
    private final HeterMoeModel model;

    Writer(HeterMoeModel model) {
      this.model = model;
    }

    @Override
    public void saveImpl(String path) {
      FileStore store = HadoopSettings.store(sparkSession().sparkContext().getConf());
      DefaultParamsWriter.saveMetadata(model, path, sparkSession());
      String to = FileStore.in(path, FILES);
      Check.input(
          store.exists(FileStore.in(model.folder(), "config.json")),
          "%s has no model to save; it holds no config.json",
          model.folder());
      FileEntry config = null;
      for (FileEntry file : store.list(model.folder())) {
        if (file.name().equals("config.json")) {
          config = file;
        } else {
          copy(store, file, to);
        }
      }
      // Last, as a folder is a model only once it has one.
      copy(store, config, to);
    }

    private static void copy(FileStore store, FileEntry from, String folder) {
      try (RangeReader in = store.open(from.path());
          NewFile out = store.create(FileStore.in(folder, from.name()))) {
        ByteBuffer buffer = ByteBuffer.allocate((int) Math.min(COPY_BYTES, in.size()));
        for (long at = 0; at < in.size(); at += buffer.capacity()) {
          buffer.clear().limit((int) Math.min(buffer.capacity(), in.size() - at));
          in.readFully(at, buffer);
          out.write(buffer.flip());
        }
        Check.input(out.publish(), "%s exists; save to a new folder", out.path());
      }
    }
  }

  static final class Reader extends MLReader<HeterMoeModel> {
    @Override
    public HeterMoeModel load(String path) {
      DefaultParamsReader.Metadata metadata =
          DefaultParamsReader.loadMetadata(path, sparkSession(), HeterMoeModel.class.getName());
      HeterMoeModel model = new HeterMoeModel(metadata.uid());
      metadata.getAndSetParams(model, Option.empty());
      // Its own copy, wherever the folder was moved since.
      return model.setModel(FileStore.in(path, FILES));
    }
  }
}
