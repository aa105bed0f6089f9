package axle.interop;

import org.apache.dubbo.common.stream.StreamObserver;

/** Streams of Triple. */
public interface Talk {
    /** Answers every text with itself, and ends when the client does. */
    StreamObserver<String> echo(StreamObserver<String> answers);

    /** Sends the numbers below n, and ends. */
    void count(Integer n, StreamObserver<Integer> numbers);
}
