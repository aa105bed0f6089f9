package axle.interop;

import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** A stock Dubbo server. Arguments: port, protocol. */
public class DubboServer {
    public static void main(String[] args) throws Exception {
        DubboBootstrap bootstrap = DubboBootstrap.getInstance();
        ApplicationConfig application = new ApplicationConfig("books");
        application.setQosEnable(false);
        ProtocolConfig protocol = new ProtocolConfig(args[1], Integer.parseInt(args[0]));
        protocol.setHost("127.0.0.1");
        bootstrap.application(application).registry(new RegistryConfig("N/A")).protocol(protocol).service(service(Ledger.class, new Books()));
        bootstrap.service(service(Coins.class, new Mint()));
        if (args[1].equals("tri")) {
            bootstrap.service(service(Talk.class, new Talker()));
        }
        bootstrap.start();
        Report.untilStopped("serving");
        bootstrap.stop(); // with what is under way
        System.exit(0);
    }

    private static <T> ServiceConfig<T> service(Class<T> of, T by) {
        ServiceConfig<T> service = new ServiceConfig<>();
        service.setInterface(of);
        service.setVersion("1.0");
        service.setGroup("gray");
        service.setRef(by);
        return service;
    }
}
