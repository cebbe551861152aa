package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.safetensors.StoredType;

/** What {@link Checkpoint#digest} hashes, in this order; numbers are decimal text. */
final class WeightDigest {
  private static final int PIECE_BYTES = 1 << 20;

  private WeightDigest() {}

  static String of(FileStore files, String folder) {
    MessageDigest sha = sha256();
    ModelConfig config = Checkpoint.config(files, folder);
    // As we write it, so that the spelling and the order of the file's own fields do not matter.
    line(sha, ModelConfigs.toJson(config, StoredType.F32));
    ByteBuffer piece = ByteBuffer.allocate(PIECE_BYTES);
    try (WeightFiles weights = WeightFiles.open(files, folder)) {
      WeightReading.check(weights, folder, config);
      // By name: tensors() is sorted.
      for (WeightFiles.Located tensor : weights.tensors().values()) {
        line(
            sha,
            tensor.entry().name() + " " + tensor.entry().type() + " " + tensor.entry().shape());
        long bytes = tensor.entry().bytes();
        for (long done = 0; done < bytes; done += piece.remaining()) {
          piece.clear().limit((int) Math.min(PIECE_BYTES, bytes - done));
          tensor.file().readBytes(tensor.entry(), done, piece);
          sha.update(piece.flip().duplicate());
        }
      }
    }
    return HexFormat.of().formatHex(sha.digest());
  }

  private static void line(MessageDigest sha, String text) {
    sha.update(text.getBytes(StandardCharsets.UTF_8));
    sha.update((byte) '\n');
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new MixedGpuException(Fault.BUG, "Every Java runtime has SHA-256", e);
    }
  }
}
