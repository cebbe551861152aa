package org.mixedgpu.hetermoe.spark.exchange;

import java.io.InputStream;
import java.nio.ByteBuffer;
import org.apache.spark.network.buffer.ManagedBuffer;

/** A {@link TensorRegion} as Spark's network layer wants data to send. */
final class TensorBuffer extends ManagedBuffer {
  private final TensorRegion region;

  TensorBuffer(TensorRegion region) {
    this.region = region;
  }

  @Override
  public long size() {
    return region.count();
  }

  @Override
  public Object convertToNetty() {
    return region;
  }

  @Override
  public Object convertToNettyForSsl() {
    throw new UnsupportedOperationException(
        "Members encrypt with Spark's AES engine, not with TLS");
  }

  @Override
  public ByteBuffer nioByteBuffer() {
    throw new UnsupportedOperationException("A tensor is sent from its own memory");
  }

  @Override
  public InputStream createInputStream() {
    throw new UnsupportedOperationException("A tensor is sent from its own memory");
  }

  @Override
  public ManagedBuffer retain() {
    return this;
  }

  @Override
  public ManagedBuffer release() {
    return this;
  }
}
