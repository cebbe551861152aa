package org.mixedgpu.hetermoe.spark.data;

import java.util.concurrent.atomic.AtomicInteger;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/** Characters as ids; counts how many of its kind were opened and closed in this JVM. */
public final class CharacterTokenizer implements Tokenizer {
  public static final AtomicInteger OPENED = new AtomicInteger();
  public static final AtomicInteger CLOSED = new AtomicInteger();

  public CharacterTokenizer() {
    OPENED.incrementAndGet();
  }

  @Override
  public int[] encode(String text) {
    return text.chars().toArray();
  }

  @Override
  public int[] encodePlain(String text) {
    return encode(text);
  }

  @Override
  public String decode(int... ids) {
    return new String(ids, 0, ids.length);
  }

  @Override
  public String continuation(int id) {
    return decode(id);
  }

  @Override
  public int vocab() {
    return 256;
  }

  @Override
  public int bosId() {
    return -1;
  }

  @Override
  public int eosId() {
    return 10;
  }

  @Override
  public void save(FileStore files, String folder) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void close() {
    CLOSED.incrementAndGet();
  }
}
