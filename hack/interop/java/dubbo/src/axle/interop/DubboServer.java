package axle.interop;

import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** A stock Dubbo server. Argument: port. */
public class DubboServer {
    public static void main(String[] args) throws Exception {
        ServiceConfig<Ledger> service = new ServiceConfig<>();
        service.setInterface(Ledger.class);
        service.setVersion("1.0");
        service.setGroup("gray");
        service.setRef(new Books());
        ApplicationConfig application = new ApplicationConfig("books");
        application.setQosEnable(false);
        ProtocolConfig protocol = new ProtocolConfig("dubbo", Integer.parseInt(args[0]));
        protocol.setHost("127.0.0.1");
        DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A")).protocol(protocol).service(service).start();
        Report.untilStopped("serving");
        System.exit(0);
    }
}
