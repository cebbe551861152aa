package org.mixedgpu.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;

class MemoryFileStoreTest extends FileStoreContract {
  private final MemoryFileStore files = new MemoryFileStore();

  @Override
  protected FileStore files() {
    return files;
  }

  @Override
  protected String folder() {
    return "/store";
  }

  @Test
  void failsWhereItWasTold() {
    files.failAt(2, Fault.EXHAUSTED);
    try (NewFile file = files.create(in("x"))) {
      file.write(ByteBuffer.allocate(3));
      assertThatThrownBy(file::publish).hasMessage("injected: publish /store/x");
    }
    assertThat(files.fired).isEqualTo(1);
    assertThat(files.files).isEmpty();
  }

  @Test
  void mayFailAfterTheFact() {
    files.failAfter(1, Fault.UNKNOWN_OUTCOME);
    try (NewFile file = files.create(in("x"))) {
      assertThatThrownBy(file::publish).hasMessage("injected: publish /store/x");
    }
    assertThat(files.fired).isEqualTo(1);
    assertThat(files.files).containsOnlyKeys("/store/x");
  }
}
