package org.mixedgpu.hetermoe.spark.gang;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Words and answers as bytes. Spark's RPC would decode them with the class loader that an executor
 * started with, which does not know the jars of {@code --jars}; this one does.
 */
final class Codec {
  private Codec() {}

  static byte[] encode(Object value) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(value);
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.BAD_INPUT, "Cannot serialise " + value + " for the driver: " + e.getMessage(), e);
    }
    return bytes.toByteArray();
  }

  static Object decode(Object bytes) {
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream((byte[]) bytes)) {
          @Override
          protected Class<?> resolveClass(ObjectStreamClass description)
              throws IOException, ClassNotFoundException {
            try {
              return Class.forName(description.getName(), false, Codec.class.getClassLoader());
            } catch (ClassNotFoundException e) {
              ClassLoader context = Thread.currentThread().getContextClassLoader();
              return context == null
                  ? super.resolveClass(description)
                  : Class.forName(description.getName(), false, context);
            }
          }
        }) {
      return in.readObject();
    } catch (IOException | ClassNotFoundException e) {
      throw new MixedGpuException(Fault.BUG, "Cannot read a gang message: " + e, e);
    }
  }
}
