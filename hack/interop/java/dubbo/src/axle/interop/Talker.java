package axle.interop;

import org.apache.dubbo.common.stream.StreamObserver;

/** The server's side of streams. */
public class Talker implements Talk {
    @Override
    public StreamObserver<String> echo(StreamObserver<String> answers) {
        return new StreamObserver<>() {
            @Override
            public void onNext(String text) {
                answers.onNext(text);
            }

            @Override
            public void onError(Throwable e) {
                System.out.println("a stream broke: " + e);
            }

            @Override
            public void onCompleted() {
                answers.onCompleted();
            }
        };
    }

    @Override
    public void count(Integer n, StreamObserver<Integer> numbers) {
        for (int i = 0; i < n; i++) {
            numbers.onNext(i);
        }
        numbers.onCompleted();
    }
}
