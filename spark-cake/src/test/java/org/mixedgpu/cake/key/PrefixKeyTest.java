package org.mixedgpu.cake.key;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.DType;

class PrefixKeyTest {
  private static final String WEIGHTS = "0123456789abcdef".repeat(4);

  /** Written from FORMAT.md, byte by byte, without the product's code. */
  @Test
  void keysAreTheBytesThatTheFormatSays() throws Exception {
    KvLayout layout = new KvLayout(WEIGHTS, 3, 2, 8, DType.BF16, "theta=1e4", 2);
    ByteBuffer root = ByteBuffer.allocate(1000).order(ByteOrder.LITTLE_ENDIAN);
    root.put("ROOT".getBytes(StandardCharsets.US_ASCII)).putInt(1);
    root.putInt(64).put(WEIGHTS.getBytes(StandardCharsets.US_ASCII));
    root.putInt(3).putInt(2).putInt(8);
    root.putInt(4).put("BF16".getBytes(StandardCharsets.US_ASCII));
    root.putInt(9).put("theta=1e4".getBytes(StandardCharsets.US_ASCII)).putInt(2);
    byte[] rootKey = sha256(root);
    ByteBuffer chunk = ByteBuffer.allocate(1000).order(ByteOrder.LITTLE_ENDIAN);
    chunk.put("CHNK".getBytes(StandardCharsets.US_ASCII)).putInt(1);
    chunk.put(rootKey).putInt(2).putInt(7).putInt(-9);

    assertThat(PrefixKey.root(layout).toBytes()).isEqualTo(rootKey);
    assertThat(PrefixKey.chain(layout, new int[] {7, -9, 5})[0].toBytes()).isEqualTo(sha256(chunk));
  }

  @Test
  void everyFieldOfTheLayoutChangesTheRoot() {
    KvLayout[] layouts = {
      new KvLayout(WEIGHTS, 3, 2, 8, DType.BF16, "r", 2),
      new KvLayout("f".repeat(64), 3, 2, 8, DType.BF16, "r", 2),
      new KvLayout(WEIGHTS, 4, 2, 8, DType.BF16, "r", 2),
      new KvLayout(WEIGHTS, 3, 8, 2, DType.BF16, "r", 2),
      new KvLayout(WEIGHTS, 3, 2, 4, DType.BF16, "r", 2),
      new KvLayout(WEIGHTS, 3, 2, 8, DType.F16, "r", 2),
      new KvLayout(WEIGHTS, 3, 2, 8, DType.BF16, "s", 2),
      new KvLayout(WEIGHTS, 3, 2, 8, DType.BF16, "r", 4),
    };
    Set<PrefixKey> roots = new HashSet<>();
    for (KvLayout layout : layouts) {
      roots.add(PrefixKey.root(layout));
    }
    assertThat(roots).hasSize(layouts.length);
  }

  @Test
  void sizesThatNoBufferHoldsAreRefused() {
    assertThatThrownBy(() -> new KvLayout(WEIGHTS, 80, 64, 128, DType.F32, "", 1 << 20))
        .hasMessageContaining("use fewer tokens per chunk");
    assertThatThrownBy(() -> new KvLayout("abc", 1, 1, 1, DType.F32, "", 1))
        .hasMessageContaining("64 hexadecimal digits; found 'abc'");
    KvLayout llama = new KvLayout(WEIGHTS, 32, 8, 128, DType.BF16, "", 128);
    assertThat(llama.chunkBytes()).isEqualTo(16 << 20);
    assertThatThrownBy(() -> PrefixKey.root(llama).child(new int[3], 2, 2))
        .hasMessageContaining("[2,+2) are not inside a prompt of 3");
  }

  private static byte[] sha256(ByteBuffer text) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    digest.update(text.flip());
    return digest.digest();
  }
}
